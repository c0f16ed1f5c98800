"""Which conditions hold wherever a load's value is used: loads are masked with them.

select(i < 3, load a[i], load b[i - 3])     a is read where i < 3, b where it is not
"""

from __future__ import annotations

from collections.abc import Iterable

from planck.loops.terms import Term, walk

Condition = tuple[Term, bool]  # and whether it holds


class Guards:
    """Knows who uses each term."""

    def __init__(self, roots: Iterable[Term]) -> None:
        self._users: dict[Term, set[tuple[Term, int]]] = {}
        self._roots: set[Term] = set()
        self.add(roots)

    def add(self, roots: Iterable[Term]) -> None:
        """More expressions."""
        roots = list(roots)
        self._roots.update(roots)
        for user in walk(roots):
            for place, term in enumerate(user.args):
                self._users.setdefault(term, set()).add((user, place))

    def of(self, load: Term) -> tuple[list[Condition], bool]:
        """The conditions, and whether they are all on the way from the load to a result."""
        found: list[Condition] = []
        term = load
        while True:
            users = self._users.get(term, set())
            if term in self._roots:
                return found, not users
            if len(users) != 1:
                return found, False
            ((user, place),) = users
            if user.kind == "select" and place:
                found.append((user.args[0], place == 1))
            term = user


def computed(load: Term) -> bool:
    """Whether a load's position is computed of indices alone, which bodies keep in range."""
    return not any(term.kind == "load" for term in walk(load.args))
