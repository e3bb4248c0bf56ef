"""Do the pages say what the code does?"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_check_has_its_section_and_every_section_its_check():
    source = "\n".join(
        path.read_text("utf-8") for path in (ROOT / "sklearn_dl/diagnosis").glob("*.py")
    )
    asked = set(re.findall(r'"(DL\d{3})"', source))
    headings = re.findall(r"^### (DL\d{3}):", (ROOT / "docs/checks.md").read_text("utf-8"), re.M)
    assert len(headings) == len(set(headings))
    assert set(headings) == asked
