"""The house's small Markdown: what it knows, and that nothing else in a text is markup."""

import pytest

from web import prose


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("> **Toy.** It knows\n> nothing.", "<blockquote><p><strong>Toy.</strong> It knows nothing.</p></blockquote>"),
        ("```python\na = '<b>'\n\n# no heading\n```", '<pre class="code" tabindex="0">a = &#x27;&lt;b&gt;&#x27;\n\n# no heading</pre>'),
        ("````\n```\n````", '<pre class="code" tabindex="0">```</pre>'),
        (r"a \*b\* \<i\> \# c", "<p>a *b* &lt;i&gt; # c</p>"),
        ("| a | b |\n|---|---|\n| x \\| y | *z* |", "<td>x | y</td><td><em>z</em></td>"),
        ("```\nno end", "<p>``` no end</p>"),
        ("<script>x</script> [y](javascript:z)", "<p>&lt;script&gt;x&lt;/script&gt; [y](javascript:z)</p>"),
    ],
)
def test_marks_are_read_and_everything_else_is_text(text: str, html: str) -> None:
    assert html in prose.render(text)
