"""Templates: escaping, values that are missing, and the page of the server under its policy."""

import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError

from videonl.reports import render, server_page, server_policy


class Named:
    """What the page of the server knows of a predictor."""

    about = {"name": "<script>alert(1)</script>", "checkpoint": "a\x1b\"'.ckpt"}  # noqa: RUF012
    class_names = ("a", "b")


def test_the_policy_allows_this_style_and_script_and_no_name_adds_one() -> None:
    page = server_page(Named(), limit=256 * 10**6, views=(10, 3))  # type: ignore[arg-type]
    policy = server_policy()
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "&lt;script&gt;alert(1)&lt;/script&gt;: 2 classes, a\\x1b&#34;&#39;.ckpt" in page
    assert "up to 256 MB" in page
    assert "Content-Security-Policy" not in page


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="limit"):
        render("server.html", clips=1, crops=1, name="a", checkpoint=None, count=2)
