"""Which measure of shift predicts best how much recall a trained head loses?

    python scripts/measure_validity.py --embeddings cars.emb --embeddings cub.emb -o validity

On the built-in glyphs and every embedding file given, sequences are built by all searches, each
graded by several measures. Heads are trained on every split and on some random partitions of its
classes, and the shift of every split is measured in all ways. What was measured is kept in the
folder -o, a file a sequence, and is not measured again; with --print-only, nothing is measured.

Seeds: of `fixed-test` they draw the test classes. The other searches are the same for any seed, so
each of their sequences is made of a seeded two thirds of the classes.

The statistic was fixed before any of its results were seen. Shift enters as its rank within the
data set, since the measures differ in unit and power. Per data set, the partial correlation of that
rank with the loss of trained recall@1, given frozen recall@1 and the logarithms of the numbers of
test and train classes, all centred within the sequence; then the mean over data sets. Intervals:
95 %, by the jackknife over whole sequences, whose splits share classes; for two measures, that of
their difference. A measure that graded a sequence is spread widest along it, so every comparison is
also made without the sequences that the measures compared have graded. Sequences of one seed share
test classes, or the classes they are made of; `--leave-out draws` leaves out all of them together.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

import oodml
from oodml.embed import EmbeddingSet
from oodml.errors import OodmlError, RunError
from oodml.methods import Budget, FitContext, find_method
from oodml.score.scoring import transform
from oodml.shift import MEASURES, find_measure, rank_correlation
from oodml.shift.partial import mean_interval, partial_correlations, products_by_group, without_each
from oodml.split import SEARCHES, Split
from oodml.store import read_json, write_json

Array = np.ndarray[Any, Any]
Found = list[tuple[Array, Array]]  # of each table: values, and values without each sequence
KIND = "validity-points"
SHARE = 2 / 3  # of the classes, in a sequence whose search no seed changes
# Per sequence: levels and random partitions (controls); per kind of sequence: seeds; per data set:
# most-classes, of which it is a seeded sample if it has more; head-seeds, steps and batch of heads.
NUMBERS = {"levels": 6, "controls": 2, "seeds": 2, "most-classes": 200}
NUMBERS |= {"head-seeds": 2, "steps": 100, "batch": 128}
GIVEN = 3  # frozen recall, log test classes, log train classes


@dataclass(frozen=True, slots=True)
class Settings:
    """What every point depends on besides its split."""

    measures: list[str]
    levels: int
    head_seeds: int
    controls: int
    method: str
    budget: Budget


@dataclass(frozen=True, slots=True)
class Plan:
    """A sequence to be built: search, the measure that grades it, seed."""

    search: str
    grade: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.search}-{self.grade}-{self.seed}"

    @property
    def draw(self) -> str:
        """What was drawn by the seed: sequences that share it share test classes, or a pool."""
        return f"{'test' if self.search == 'fixed-test' else 'pool'}-{self.seed}"


# Measuring ---------------------------------------------------------------------------------------


def plans(searches: Sequence[str], grades: Sequence[str], seeds: int) -> list[Plan]:
    """Seed by seed, so that a run that is stopped has sequences of every kind."""
    return [Plan(s, g, n) for n in range(seeds) for g in grades for s in searches]


def sample(embeddings: EmbeddingSet, count: int, seed: list[int]) -> EmbeddingSet:
    names = embeddings.classes
    if len(names) <= count:
        return embeddings
    rows = np.random.default_rng(seed).permutation(len(names))[:count]
    return replace(embeddings.of([names[row] for row in np.sort(rows)]), default=None)


class Bench:
    """Measures the splits of one data set."""

    def __init__(self, embeddings: EmbeddingSet, settings: Settings) -> None:
        self.embeddings = embeddings
        self.settings = settings
        self._row = {name: row for row, name in enumerate(embeddings.classes)}
        self._distances = {name: find_measure(name).on(embeddings) for name in settings.measures}
        self._frozen = cache(self._score_frozen)

    def points(self, plan: Plan) -> list[dict[str, Any]]:
        """A record a split of the sequence, and then the random partitions."""
        return [self._point(split, kind) for split, kind in self._splits(plan)]

    def _splits(self, plan: Plan) -> Iterator[tuple[Split, str]]:
        """The levels, and random partitions of the classes of levels spread over the sequence."""
        sequence = oodml.build_splits(
            self._pool(plan),
            search=plan.search,
            measure=plan.grade,
            levels=self.settings.levels,
            seed=plan.seed,
            partitions=0,
            controls=1,
        )
        for split in sequence.splits:
            yield split, "level"
        count = min(self.settings.controls, len(sequence.splits))
        places = np.linspace(0, len(sequence.splits) - 1, count).round().astype(int)
        for split in (sequence.splits[place] for place in places):
            test = split.controls[0].test
            partition = replace(split, train=split.without(test), val=(), test=test, controls=())
            yield partition, "random"

    def _pool(self, plan: Plan) -> EmbeddingSet:
        if plan.search == "fixed-test":
            return self.embeddings
        count = max(4, round(SHARE * len(self.embeddings.classes)))
        return sample(self.embeddings, count, [plan.seed, 1])

    def _point(self, split: Split, kind: str) -> dict[str, Any]:
        sides = [
            np.array([self._row[name] for name in side]) for side in (split.train_side, split.test)
        ]
        return {
            "kind": kind,
            "rank": split.rank,
            "train_classes": len(split.train_side),
            "test_classes": len(split.test),
            "frozen": self._frozen(split.test),
            "trained": [self._trained(split, n) for n in range(self.settings.head_seeds)],
            "shift": {name: float(d(*sides)) for name, d in self._distances.items()},
        }

    def _score_frozen(self, test: tuple[str, ...]) -> float:
        side = self.embeddings.of(test)
        return oodml.evaluate(side.vectors, side.labels, ["recall@1"])["recall@1"]

    def _trained(self, split: Split, seed: int) -> float:
        train, test = self.embeddings.of(split.train_side), self.embeddings.of(split.test)
        context = FitContext(train, None, "head", self.settings.budget, "last", seed)
        encoder = find_method(self.settings.method).fit(context).encoder
        vectors = transform(encoder, test.vectors)
        return oodml.evaluate(vectors, test.labels, ["recall@1"])["recall@1"]


def measure_all(
    sets: Sequence[EmbeddingSet], todo: Sequence[Plan], settings: Settings, folder: Path
) -> None:
    """Write a file a data set and plan, where there is none; sequences alternate in data set."""
    benches = [Bench(embeddings, settings) for embeddings in sets]
    facts = [{**asdict(settings), "features": e.digest(), "data": e.dataset} for e in sets]
    start, total = time.perf_counter(), len(todo) * len(sets)
    pairs = product(todo, zip(benches, facts, strict=True))
    for done, (plan, (bench, fact)) in enumerate(pairs, start=1):
        path = folder / bench.embeddings.dataset / f"{plan.name}.json"
        if path.exists():
            check_settings(path, fact)
        else:
            record = {"settings": fact, "plan": asdict(plan), "points": bench.points(plan)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, KIND, record)
        print(f"{done}/{total} {time.perf_counter() - start:.0f} s {path}", file=sys.stderr)


def check_settings(path: Path, expected: dict[str, Any]) -> None:
    found = read_json(path, KIND)["settings"]
    if changed := sorted(key for key in expected if found.get(key) != expected[key]):
        raise RunError(
            f"{path} was measured with other {', '.join(changed)}; give another folder with -o."
        )


# Statistics --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """The points of one data set, a row a split."""

    name: str
    measures: tuple[str, ...]
    sequence: Array  # (n,) names
    cluster: Array  # (n,) what is left out for the intervals: sequences, or draws
    grade: Array  # (n,) the measure that graded the sequence
    shift: Array  # (n, measures)
    given: Array  # (n, GIVEN)
    loss: Array  # (n,) minus trained recall@1

    def where(self, chosen: Array) -> Table:
        rows = {
            key: getattr(self, key)[chosen] for key in ("sequence", "cluster", "grade", "shift")
        }
        return replace(self, **rows, given=self.given[chosen], loss=self.loss[chosen])

    def products(self) -> Array:
        """Products of what is given, loss, ranks of the shifts: in sequences, summed by cluster."""
        from scipy.stats import rankdata

        columns = [self.given, self.loss, rankdata(self.shift, axis=0)]
        products = products_by_group(np.column_stack(columns), self.sequence)
        _, first = np.unique(self.sequence, return_index=True)
        clusters, place = np.unique(self.cluster[first], return_inverse=True)
        found = np.zeros((len(clusters), *products.shape[1:]))
        np.add.at(found, place, products)
        return found


def read_tables(
    folder: Path,
    leave_out: str = "sequences",
    searches: Sequence[str] = tuple(SEARCHES),
    kinds: Sequence[str] = ("level", "random"),
) -> list[Table]:
    """A table a data set: what was measured of these searches, sequences in name order."""
    tables = []
    for place in sorted(path for path in folder.glob("*") if path.is_dir()):
        records = [read_json(path, KIND) for path in sorted(place.glob("*.json"))]
        rows = [(Plan(**record["plan"]), p) for record in records for p in record["points"]]
        rows = [(plan, p) for plan, p in rows if plan.search in searches and p["kind"] in kinds]
        if not rows:
            continue
        measures = tuple(records[0]["settings"]["measures"])
        given = [
            (p["frozen"], np.log(p["test_classes"]), np.log(p["train_classes"])) for _, p in rows
        ]
        tables.append(
            Table(
                name=place.name,
                measures=measures,
                sequence=np.array([plan.name for plan, _ in rows]),
                cluster=np.array([x.draw if leave_out == "draws" else x.name for x, _ in rows]),
                grade=np.array([plan.grade for plan, _ in rows]),
                shift=np.array([[p["shift"][name] for name in measures] for _, p in rows]),
                given=np.array(given),
                loss=np.array([-np.mean(p["trained"]) for _, p in rows]),
            )
        )
    if not tables:
        raise RunError(
            f"{folder} holds no points of these searches; run without --print-only first."
        )
    return tables


def with_loss(products: Array, given: int, skipped: int = 0) -> Array:
    """Correlations `(..., measures)` of loss and shifts given the first columns, some skipped."""
    kept = np.r_[0:given, given + skipped : products.shape[-1]]
    return partial_correlations(products[..., kept, :][..., kept], given)[..., 0, 1:]


# Printing ----------------------------------------------------------------------------------------


def print_all(tables: Sequence[Table]) -> None:
    for table in tables:
        counts = [len(np.unique(names)) for names in (table.sequence, table.cluster)]
        print(
            f"{table.name}: {len(table.loss)} splits of {counts[0]} sequences, {counts[1]} clusters"
        )
    found = correlations(tables)
    order = np.argsort(-np.mean([values for values, _ in found], axis=0))
    print_main(tables, order)
    print("\nPartial correlation per data set")
    print_rows(["measure", *(table.name for table in tables)])
    for m in order:
        print_rows([tables[0].measures[m], *(shown([one], pick(m)) for one in found)])
    print_pairs(tables, order)
    alike = np.mean([partial_correlations(t.products().sum(axis=0), GIVEN) for t in tables], axis=0)
    print(
        f"\nPartial correlation of two measures with each other: at least {alike[1:, 1:].min():.2f}"
    )


def correlations(tables: Sequence[Table]) -> Found:
    """Partial correlations of every table, and those without each of its clusters."""
    products = [table.products() for table in tables if len(np.unique(table.cluster)) > 1]
    return [(with_loss(p.sum(axis=0), GIVEN), with_loss(without_each(p), GIVEN)) for p in products]


def graded_by_others(tables: Sequence[Table], *measures: str) -> list[Table]:
    return [table.where(~np.isin(table.grade, measures)) for table in tables]


def pick(a: int, b: int | None = None) -> Callable[[Array], Array]:
    """What takes a measure, or the difference of two, out of `(..., measures)`."""
    return lambda rows: rows[..., a] - (0 if b is None else rows[..., b])


def shown(found: Found, what: Callable[[Array], Array], *, mark: bool = False) -> str:
    """Mean over tables and its interval; with `mark`, a star where that excludes 0."""
    if not found:
        return "-"
    values = np.array([what(rows) for rows, _ in found])
    low, high = mean_interval(values, [what(rows) for _, rows in found])
    if not mark:  # no correlation is beyond these
        low, high = max(low, -1.0), min(high, 1.0)
    star = " *" if mark and (low > 0 or high < 0) else ""
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f}){star}"


def print_main(tables: Sequence[Table], order: Array) -> None:
    plain = np.mean([plain_ranks(table) for table in tables], axis=0)
    sums = [table.products().sum(axis=0) for table in tables]
    within = np.mean([with_loss(products, 0, GIVEN) for products in sums], axis=0)
    found = correlations(tables)
    print("\nMeans over data sets, with 95 % intervals")
    print_rows(["measure", "plain", "within", "partial", "partial, graded by others"])
    for m in order:
        name = tables[0].measures[m]
        others = correlations(graded_by_others(tables, name))
        figures = [f"{plain[m]:.2f}", f"{within[m]:.2f}"]
        print_rows([name, *figures, shown(found, pick(m)), shown(others, pick(m))])


def plain_ranks(table: Table) -> list[float]:
    """Spearman's correlation of shift and loss over all splits, nothing taken out."""
    found = (rank_correlation(column, table.loss) for column in table.shift.T)
    return [np.nan if value is None else value for value in found]


def print_pairs(tables: Sequence[Table], order: Array) -> None:
    print("\nDifferences of partial correlations (* where the interval excludes 0)")
    print_rows(["pair", "all sequences", "graded by neither"])
    names, found = tables[0].measures, correlations(tables)
    for a, b in combinations(order, 2):
        neither = correlations(graded_by_others(tables, names[a], names[b]))
        cells = [shown(one, pick(a, b), mark=True) for one in (found, neither)]
        print_rows([f"{names[a]} - {names[b]}", *cells])


def print_rows(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |")


# Command line ------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", dest="folder", type=Path, required=True, help="what was measured")
    parser.add_argument("--embeddings", type=Path, action="append", default=[])
    parser.add_argument("--without-glyphs", action="store_true")
    parser.add_argument("--measures", nargs="+", default=list(MEASURES))
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES))
    parser.add_argument("--grades", nargs="+", default=["frechet", "energy", "sliced-wasserstein"])
    parser.add_argument("--method", default="multisimilarity?dim=128")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--leave-out", choices=["sequences", "draws"], default="sequences")
    parser.add_argument("--kinds", nargs="+", default=["level", "random"], help="to be printed")
    parser.add_argument("--print-only", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    try:
        if not given.print_only:
            sets = [oodml.read_embeddings(path) for path in given.embeddings]
            if not given.without_glyphs:
                sets.insert(0, oodml.embed_data(oodml.load_data("glyphs"), "oodml:hog"))
            sets = [sample(embeddings, given.most_classes, [0]) for embeddings in sets]
            numbers = (given.levels, given.head_seeds, given.controls)
            budget = Budget(given.steps, given.batch)
            settings = Settings(sorted(given.measures), *numbers, given.method, budget)
            todo = plans(given.searches, given.grades, given.seeds)
            measure_all(sets, todo, settings, given.folder)
        print_all(read_tables(given.folder, given.leave_out, given.searches, given.kinds))
    except OodmlError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
