"""Statements of the pages asked for most: built once a process and planned once a connection, not at every request.

Name the columns in what is prepared, never `*`: a plan whose columns changed in a migration fails on connections that were open.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.db import connection, models
from django.db.backends.utils import CursorWrapper
from django.db.models.query import get_related_populators
from psycopg.pq import TransactionStatus

M = TypeVar("M", bound=models.Model)


# Which statements each connection has planned; it goes with the connection.
_planned: WeakKeyDictionary[psycopg.Connection[Any], set[str]] = WeakKeyDictionary()


class _Cursor(psycopg.Cursor[Any]):
    """Plans a statement as if every table were large: the plan stays, and on the first day of a campaign all tables are small."""

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> "_Cursor":
        planned = _planned.setdefault(self.connection, set())
        if query in planned:
            return super().execute(query, params, **kwargs)
        self.connection.execute("SET enable_seqscan = off")
        try:
            super().execute(query, params, **kwargs)
        except psycopg.Error:
            # Inside a transaction the setting goes with it.
            if self.connection.info.transaction_status == TransactionStatus.IDLE:
                self.connection.execute("SET enable_seqscan = on")
            raise
        self.connection.execute("SET enable_seqscan = on")
        planned.add(query)
        return self


def prepared() -> CursorWrapper:
    """A cursor of the current connection and transaction whose statements PostgreSQL keeps, planned, for as long as that is open.

    The plan is one for all values: for what is looked up by keys, or in the order of an index. Values travel beside the text, so each
    needs a type that can be known: write `= ANY(%s::text[])`, `%s::jsonb`.
    """
    connection.ensure_connection()
    return connection._prepare_cursor(_Cursor(connection.connection))  # type: ignore[attr-defined, no-any-return]


class Frozen(Generic[M]):
    """A queryset of whole models compiled at its first use: called with other values it returns a list, and builds no SQL.

    `build(**stand_ins)` makes it; the stand-ins are values of the right types that stand in no other place, and what they became in
    the compiled query tells where each value goes. For queries by keys alone: a value that changes the query's shape (None, a list) or
    another value than its field's own (a lookup that pads or folds) has no place here. No prefetching.
    """

    def __init__(self, build: Callable[..., models.QuerySet[M]], **stand_ins: Any) -> None:
        self.build, self.stand_ins = build, stand_ins
        self.made: tuple[Any, ...] | None = None

    def __call__(self, **values: Any) -> list[M]:
        # Two threads that meet here make the same twice.
        if self.made is None:
            self.made = self._compile()
        sql, order, read = self.made
        with prepared() as cursor:
            cursor.execute(sql, [values[name] if name else value for name, value in order])
            rows = cursor.fetchall()
        return read(rows) if rows else []

    def _compile(self) -> tuple[str, list[tuple[str, Any]], Callable[[Sequence[Any]], list[M]]]:
        queryset = self.build(**self.stand_ins)
        compiler = queryset.query.get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        order = [(self._name_of(value), value) for value in params]
        return sql, order, _reader(compiler)

    def _name_of(self, value: Any) -> str:
        """The stand-in that `value` is, or ""."""
        return next((name for name, one in self.stand_ins.items() if type(one) is type(value) and one == value), "")


def _reader(compiler: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """Rows into models, as Django's ModelIterable does it."""
    info, select, alias = compiler.klass_info, compiler.select, compiler.using or connection.alias
    model, fields = info["model"], info["select_fields"]
    first, last = fields[0], fields[-1] + 1
    names = [column[0].target.attname for column in select[first:last]]
    related = get_related_populators(info, select, alias)  # type: ignore[call-arg]  # its types are of a later Django
    converters = compiler.get_converters([column[0] for column in select])
    annotations = compiler.annotation_col_map

    def read(rows: Sequence[Any]) -> list[Any]:
        found = []
        for row in compiler.apply_converters(rows, converters) if converters else rows:
            made = model.from_db(alias, names, row[first:last])
            for populator in related:
                populator.populate(row, made)
            for name, place in annotations.items():
                setattr(made, name, row[place])
            found.append(made)
        return found

    return read
