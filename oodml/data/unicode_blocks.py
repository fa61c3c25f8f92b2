"""The Unicode blocks that the built-in glyphs come from."""

from __future__ import annotations

# (first, last, name), as in the Unicode Character Database's Blocks.txt: only the blocks of which
# every face of the glyphs has characters. A character outside of them is not drawn, so that each
# class has a group.
BLOCKS = (
    (0x0000, 0x007F, "Basic Latin"),
    (0x0080, 0x00FF, "Latin-1 Supplement"),
    (0x0100, 0x017F, "Latin Extended-A"),
    (0x0180, 0x024F, "Latin Extended-B"),
    (0x0250, 0x02AF, "IPA Extensions"),
    (0x02B0, 0x02FF, "Spacing Modifier Letters"),
    (0x0370, 0x03FF, "Greek and Coptic"),
    (0x0400, 0x04FF, "Cyrillic"),
    (0x1E00, 0x1EFF, "Latin Extended Additional"),
    (0x2000, 0x206F, "General Punctuation"),
    (0x20A0, 0x20CF, "Currency Symbols"),
    (0x2100, 0x214F, "Letterlike Symbols"),
    (0x2200, 0x22FF, "Mathematical Operators"),
    (0x2400, 0x243F, "Control Pictures"),
    (0x2500, 0x257F, "Box Drawing"),
    (0xFB00, 0xFB4F, "Alphabetic Presentation Forms"),
)


def block(codepoint: int) -> str | None:
    """The name of the block that a character is in, or None where it is in none of these."""
    return next((name for first, last, name in BLOCKS if first <= codepoint <= last), None)
