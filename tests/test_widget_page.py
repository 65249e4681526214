"""A widget's modules as one script: in the order of their imports, each once, and nothing that does not fit."""

import json
import re
from html import escape

import numpy as np
import pytest

from course_lib import plots
from course_lib.files import ROOT
from course_lib.widgets.page import HERE, Fragment, bundle, script_json

SCRIPTS = [*HERE.glob("*.js"), *(ROOT / "course_lib/teaching").glob("*.js")]


def modules(tmp_path, **sources):
    for name, source in sources.items():
        (tmp_path / f"{name}.js").write_text(source, encoding="utf-8")
    return tmp_path


def test_each_module_stands_once_and_after_what_it_imports(tmp_path):
    a = 'import { b } from "./b.js";\nimport { c } from "./c.js";\nexport function mount() { return b + c; }'
    b = 'import { c } from "./c.js";\nexport const b = c + 1;'
    script = bundle("a", modules(tmp_path, a=a, b=b, c="const hidden = 1;\nexport const c = hidden;"))
    assert re.findall(r"^const \$(\w+) =", script, re.MULTILINE) == ["c", "b", "a"]
    assert "const { c } = $c;" in script and script.endswith("return { mount };\n})();\nreturn $a;")
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)


def test_a_module_may_stand_in_another_folder(tmp_path):
    for folder, source in {"one": 'import { b } from "../two/b.js";', "two": "export const b = 1;"}.items():
        (tmp_path / folder).mkdir()
        modules(tmp_path / folder, **{{"one": "a", "two": "b"}[folder]: source})
    assert re.findall(r"^const (.*?) =", bundle("a", tmp_path / "one"), re.MULTILINE) == ["$b", "b", "$a", "{ b }"]


@pytest.mark.parametrize(
    "sources, words",
    [
        ({"a": 'import { b } from "./b.js";', "b": 'import { a } from "./a.js";'}, "a circle, got a -> b -> a"),
        ({"a": 'import { b } from "./b.js";'}, "a must import a module of .*, got b.js"),
        ({"a": 'import { b } from "./b.js";', "b": "const b = 1;"}, "a.js must import what b.js exports, got b"),
        ({"a": 'import * as b from "./b.js";'}, "a.js must import and export as `bundle` says, got import"),
        ({"a": "const b = 1;\nexport { b };"}, "a.js must import and export as `bundle` says, got export"),
        ({"a": "export default 1;"}, "got export default"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, sources, words):
    with pytest.raises(ValueError, match=words):
        bundle("a", modules(tmp_path, **sources))


@pytest.mark.parametrize("text", ["<!--<script>", "</script><b>", "</SCRIPT>", "a < b && c > d", "\u2028"])
def test_no_text_ends_a_script_or_a_title(tmp_path, text):
    inside = script_json({"title": text})
    assert "<" not in inside and inside.isascii() and json.loads(inside) == {"title": text}
    made = Fragment("x", "").save(tmp_path / "x.html", title=text).read_text(encoding="utf-8")
    assert re.search("<title>([^<]*)</title>", made)[1] == escape(text)


def test_the_widgets_own_scripts_cannot_end_early():
    for path in SCRIPTS:
        assert not re.search("<!--|</?script", path.read_text(encoding="utf-8"), re.IGNORECASE), path.name


def test_every_exported_function_has_its_types():
    for path in SCRIPTS:
        source = path.read_text(encoding="utf-8")
        exported = len(re.findall(r"^export (?:async )?(?:function|const)", source, re.MULTILINE))
        assert len(re.findall(r"\*/\nexport (?:async )?(?:function|const)", source)) == exported, path.name


def test_pictures_are_tiled_in_reading_order_with_gaps():
    pictures = np.arange(1, 4, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(3, 2)  # three of 2 x 3
    got = plots.tile(pictures, gap=(1, 2), background=9)
    want = [[1, 1, 1, 9, 9, 2, 2, 2]] * 2 + [[9] * 8] + [[3, 3, 3, 9, 9, 9, 9, 9]] * 2
    assert got.tolist() == want and got.dtype == np.uint8
    assert plots.tile(pictures[:2], 1).tolist() == [[1] * 3] * 2 + [[2] * 3] * 2
    colours = plots.tile(np.zeros((2, 2, 2, 3), np.uint8), 2, 1, (1, 2, 3))
    assert colours.shape == (2, 5, 3) and colours[0, 2].tolist() == [1, 2, 3]


def test_comments_are_left_out_and_code_is_not(tmp_path):
    a = "// one\n/**\n * two\n */\nexport const mount = /** @type {any} */ (1);\n  // three\nconst url = 'file://x';\n"
    a += "/** four */\n"
    script = bundle("a", modules(tmp_path, a=a))
    assert "const mount = /** @type {any} */ (1);\nconst url = 'file://x';" in script
    assert not re.search("one|two|three|four", script)
