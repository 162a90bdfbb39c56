"""The table of rights, as data."""

from __future__ import annotations

from models_app.domain import rights
from models_app.domain.rights import RIGHTS, Binding
from models_app.domain.scopes import Scope


def test_what_changes_something_needs_more_than_reading() -> None:
    for name, right in RIGHTS.items():
        if right.binding is not Binding.READS:
            assert right.scope in (Scope.OPERATE, Scope.ADMIN), name


def test_a_scope_of_staff_needs_the_rights_to_all_of_its_operations() -> None:
    needed = {
        scope: {name for right in RIGHTS.values() if right.scope is scope for name in right.staff or ()}
        for scope in (Scope.READ, Scope.OPERATE)
    }
    readers, operators = needed[Scope.READ], needed[Scope.READ] | needed[Scope.OPERATE]
    assert rights.scopes_of_staff(readers.__contains__) == {Scope.READ}
    assert rights.scopes_of_staff(operators.__contains__) == {Scope.READ, Scope.OPERATE}
    for name in operators:
        assert Scope.OPERATE not in rights.scopes_of_staff((operators - {name}).__contains__)
    for name in readers:
        assert not rights.scopes_of_staff((operators - {name}).__contains__)


def test_a_key_needs_the_scope_of_the_row() -> None:
    for name, right in RIGHTS.items():
        assert rights.key_may(frozenset({Scope.ADMIN}), name)
        assert rights.key_may(frozenset({Scope.READ}), name) == (right.scope in (None, Scope.READ))
        assert rights.key_may(frozenset({Scope.OPERATE}), name) == (right.scope is not Scope.ADMIN)
        assert rights.key_may(frozenset({Scope.INFER}), name) == (right.scope is None)
        assert not rights.key_may(frozenset(), name)
