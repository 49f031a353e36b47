#!/usr/bin/env python3
"""Counts the test texts independently of Gristmill, and prints what the tests expect.

    python3 testdata/expect.py > testdata/expected.json

Needs Python 3.9 or later and the module `regex` (2026.5.9 was used), whose property tables stand for Unicode's.
`words` splits at Unicode White_Space: `str.split()` would also split at U+001C to U+001F, which are not. The
vocabulary is cut by the rules of UAX #29, written down here once more rather than taken from a library.
"""
import collections
import json
import pathlib

import regex

HERE = pathlib.Path(__file__).parent
NAMES = (
    "CR LF Newline Extend ZWJ Regional_Indicator Format Katakana Hebrew_Letter ALetter Single_Quote Double_Quote "
    "MidNumLet MidLetter MidNum Numeric ExtendNumLet WSegSpace"
).split()
CLASSES = regex.compile("|".join(rf"(?P<{name}>\p{{Word_Break={name}}})" for name in NAMES))
PICTURE = regex.compile(r"\p{Extended_Pictographic}")
WORDLIKE = regex.compile(r"[\p{Alphabetic}\p{Nd}\p{Nl}\p{No}]")
LETTERS = {"ALetter", "Hebrew_Letter"}
MID_LETTER = {"MidLetter", "MidNumLet", "Single_Quote"}
MID_NUMBER = {"MidNum", "MidNumLet", "Single_Quote"}
BREAKS = {"CR", "LF", "Newline"}
ATTACHED = {"Extend", "Format", "ZWJ"}


def word_break(character):
    match = CLASSES.match(character)
    return match.lastgroup if match else "Other"


def segments(text):
    """The word segments of a text: https://www.unicode.org/reports/tr29/#Word_Boundary_Rules"""
    classes = [word_break(character) for character in text]
    # WB4: the characters that count, as (position, class).
    bases = [
        (at, name)
        for at, name in enumerate(classes)
        if not (name in ATTACHED and at > 0 and classes[at - 1] not in BREAKS)
    ]
    order = {at: number for number, (at, _) in enumerate(bases)}

    def base(number):
        return bases[number][1] if 0 <= number < len(bases) else None

    start = 0
    for at in range(1, len(text)):
        before, after = classes[at - 1], classes[at]
        if before == "CR" and after == "LF":  # WB3
            continue
        if before not in BREAKS and after not in BREAKS:  # WB3a, WB3b
            if before == "ZWJ" and PICTURE.match(text[at]):  # WB3c
                continue
            if before == after == "WSegSpace":  # WB3d
                continue
            if after in ATTACHED:  # WB4
                continue
            number = order[at]
            far, left, right, next_ = (base(number + step) for step in (-2, -1, 0, 1))
            if left in LETTERS and right in LETTERS:  # WB5
                continue
            if left in LETTERS and right in MID_LETTER and next_ in LETTERS:  # WB6
                continue
            if far in LETTERS and left in MID_LETTER and right in LETTERS:  # WB7
                continue
            if left == "Hebrew_Letter" and right == "Single_Quote":  # WB7a
                continue
            if left == "Hebrew_Letter" and right == "Double_Quote" and next_ == "Hebrew_Letter":  # WB7b
                continue
            if far == "Hebrew_Letter" and left == "Double_Quote" and right == "Hebrew_Letter":  # WB7c
                continue
            if left in LETTERS | {"Numeric"} and right == "Numeric":  # WB8, WB9
                continue
            if left == "Numeric" and right in LETTERS:  # WB10
                continue
            if far == "Numeric" and left in MID_NUMBER and right == "Numeric":  # WB11
                continue
            if left == "Numeric" and right in MID_NUMBER and next_ == "Numeric":  # WB12
                continue
            if left == right == "Katakana":  # WB13
                continue
            joining = LETTERS | {"Numeric", "Katakana", "ExtendNumLet"}
            if left in joining and right == "ExtendNumLet":  # WB13a
                continue
            if left == "ExtendNumLet" and right in joining:  # WB13b
                continue
            if left == right == "Regional_Indicator":  # WB15, WB16
                run = 0
                while base(number - 1 - run) == "Regional_Indicator":
                    run += 1
                if run % 2 == 1:
                    continue
        yield text[start:at]
        start = at
    if text:
        yield text[start:]


def count(data):
    text = data.decode("utf-8")
    words = collections.Counter(segment.lower() for segment in segments(text) if WORDLIKE.search(segment))
    top = sorted(words.items(), key=lambda item: (-item[1], item[0].encode()))[:10]
    return {
        "words": len(regex.findall(r"\P{White_Space}+", text)),
        "lines": text.count("\n"),
        "characters": len(text),
        "bytes": len(data),
        "unique_words": len(words),
        "top_words": [{"word": word, "count": count} for word, count in top],
        "vocabulary_truncated": False,
    }


def first_bad_byte(data):
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    raise ValueError("is UTF-8")


def files(folder):
    return sorted((HERE / folder).iterdir())


expected = {
    "counts": {f"{path.parent.name}/{path.name}": count(path.read_bytes()) for path in files("books") + files("texts")},
    "invalid_utf8": {f"invalid-utf8/{path.name}": first_bad_byte(path.read_bytes()) for path in files("invalid-utf8")},
}
print(json.dumps(expected, ensure_ascii=False, indent=1))
