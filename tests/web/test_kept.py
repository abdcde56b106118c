"""The template tag that renders a part once: per key, and every time where there is none."""

from django.template import Context, Template

PAGE = Template("{% load rounds %}{% kept key %}{{ word }}{% endkept %}")


def shown(key: str, word: str) -> str:
    return PAGE.render(Context({"key": key, "word": word}))


def test_a_part_is_rendered_once_for_each_key() -> None:
    assert [shown("one", "<a>"), shown("one", "b"), shown("two", "c")] == ["&lt;a&gt;", "&lt;a&gt;", "c"]


def test_without_a_key_it_is_rendered_every_time() -> None:
    assert [shown("", "a"), shown("", "b")] == ["a", "b"]


def test_it_keeps_few() -> None:
    for number in range(200):
        assert shown(f"many {number}", str(number)) == str(number)
    assert len(PAGE.nodelist[1].kept) <= 64  # type: ignore[attr-defined]
