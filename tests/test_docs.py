"""Do the pages say what the code does, and the translated ones what the others say?"""

import io
import re
import tokenize
from pathlib import Path

import pytest

from sklearn_dl import diagnosis

ROOT = Path(__file__).resolve().parents[1]
TRANSLATED = sorted(ROOT.glob("*.zh-CN.md")) + sorted((ROOT / "docs").glob("*.zh-CN.md"))


def test_every_check_has_its_section_and_every_section_its_check():
    source = "\n".join(
        path.read_text("utf-8") for path in Path(diagnosis.__file__).parent.glob("*.py")
    )
    asked = set(re.findall(r'"(DL\d{3})"', source))
    headings = re.findall(r"^### (DL\d{3}):", (ROOT / "docs/checks.md").read_text("utf-8"), re.M)
    assert len(headings) == len(set(headings))
    assert set(headings) == asked


def test_every_check_has_an_anchor_of_its_name_for_links():
    page = (ROOT / "docs/checks.md").read_text("utf-8")
    anchored = re.findall(r"^\(dl(\d{3})\)=\n### DL(\d{3}):", page, re.M)
    assert [a for a, _ in anchored] == [b for _, b in anchored]
    assert len(anchored) == page.count("\n### DL")


# --- translations ------------------------------------------------------------------------------


def pages(path):
    """A translated page and the one it translates."""
    original = path.with_name(path.name.replace(".zh-CN", ""))
    return path.read_text("utf-8"), original.read_text("utf-8")


def fences(page):
    """Language and content of every code block; comments of Python may be translated."""
    blocks = re.findall(r"^```(\S*)\n(.*?)^```$", page, re.M | re.S)
    return [(kind, uncommented(code) if kind == "python" else code) for kind, code in blocks]


def uncommented(code):
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [token.string for token in tokens if token.type != tokenize.COMMENT]


def prose(page):
    return re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)


def structure(page):
    """What a translation must not change, section by section."""
    text = prose(page)
    sections = re.split(r"^(?=#{1,4} )", text, flags=re.M)
    return [
        {
            "level": len(re.match(r"#*", section)[0]),
            "table cells": [line.count("|") for line in section.splitlines() if line[:1] == "|"],
            "list items": len(re.findall(r"^- ", section, re.M)),
            "links": sorted(
                target.replace(".zh-CN", "") for target in re.findall(r"\]\(([^)]+)\)", section)
            ),
            "figures": sorted(re.findall(r"(?<![\w.])\d+(?:\.\d+)?", section)),
            "codes": sorted(set(re.findall(r"DL\d{3}", section))),
            "names": sorted(set(re.findall(r"`([^`]+)`", section))),
        }
        for section in sections
    ]


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.name)
def test_a_translation_has_the_structure_and_the_code_of_its_original(path):
    translated, original = pages(path)
    assert fences(translated) == fences(original)
    for own, other in zip(structure(translated), structure(original), strict=True):
        assert own == other


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.name)
def test_a_translation_and_its_original_link_to_one_another_and_nothing_is_left_english(path):
    translated, original = pages(path)
    other = path.name.replace(".zh-CN", "")
    assert f"[English]({other})" in translated
    assert f"[中文]({path.name})" in original
    for paragraph in re.split(r"\n\s*\n", prose(translated)):
        words = re.sub(r"`[^`]*`|\[English\].*|# sklearn_dl", "", paragraph).strip()
        assert not words or re.search(r"[\u4e00-\u9fff]", words), paragraph


def test_there_are_a_readme_and_a_diagnosis_guide_in_chinese():
    assert {"README.zh-CN.md", "diagnosis.zh-CN.md"} <= {path.name for path in TRANSLATED}


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=str)
def test_every_relative_link_leads_somewhere(path):
    page = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target
