"""Nodes that change nothing go; chains become one node; what does change something stays."""

import pytest

from planck.passes.remove_noops import RULES


def program(body, head="%x: f32[2,3,4]"):
    return f'graph "n"({head}) {{ {body} }}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "%a: f32[2,3,4] = Identity(%x) %y: f32[2,3,4] = Pointwise(%a, fn='exp') return %y",
            "%y: f32[2,3,4] = Pointwise(%x, fn='exp') return %y",
        ),
        (
            "%a: f32[6,4] = Reshape(%x, shape=(6, 4)) %y: f32[24] = Reshape(%a, shape=(24,)) "
            "return %y",
            "%y: f32[24] = Reshape(%x, shape=(24,)) return %y",
        ),
        (
            "%a: f32[4,2,3] = Transpose(%x, perm=(2, 0, 1)) "
            "%b: f32[2,3,4] = Transpose(%a, perm=(1, 2, 0)) "
            "%y: f32[2,3,4] = Pointwise(%b, fn='exp') return %y",
            "%y: f32[2,3,4] = Pointwise(%x, fn='exp') return %y",
        ),
        (
            "%a: f32[4,2,3] = Transpose(%x, perm=(2, 0, 1)) "
            "%y: f32[2,4,3] = Transpose(%a, perm=(1, 0, 2)) return %y",
            "%y: f32[2,4,3] = Transpose(%x, perm=(0, 2, 1)) return %y",
        ),
        (
            "%e: f32[2,3,4] = Pointwise(%x, fn='exp') %a: f64[2,3,4] = Cast(%e, to=f64) "
            "%y: f32[2,3,4] = Cast(%a, to=f32) return %y",
            "%y: f32[2,3,4] = Pointwise(%x, fn='exp') return %y",
        ),
        (
            "%a: f32[1,3,4] = Slice(%x, starts=(1, 0, 0), sizes=(1, 3, 4), steps=(1, 1, 1)) "
            "%b: f32[1,2,4] = Slice(%a, starts=(0, 2, 0), sizes=(1, 2, 4), steps=(1, -2, 1)) "
            "%y: f32[1,2,2] = Slice(%b, starts=(0, 0, 1), sizes=(1, 2, 2), steps=(1, 1, 2)) "
            "return %y",
            "%y: f32[1,2,2] = Slice(%x, starts=(1, 2, 1), sizes=(1, 2, 2), steps=(1, -2, 2)) "
            "return %y",
        ),
        (
            "%a: f32[2,3,8] = Concat(%x, %x, axis=2) %b: f32[2,3,8] = Concat(%a, axis=1) "
            "%y: f32[2,3,12] = Concat(%b, %x, axis=-1) return %y",
            "%y: f32[2,3,12] = Concat(%x, %x, %x, axis=-1) return %y",
        ),
        (
            "weight %o: f32[3,1] = [1, 1, 1] weight %z: f32[] = 0 "
            "%a: f32[2,3,4] = Pointwise(%o, %x, fn='mul') "
            "%b: f32[2,3,4] = Pointwise(%a, %z, fn='sub') "
            "%y: f32[2,3,4] = Pointwise(%b, fn='exp') return %y",
            "%y: f32[2,3,4] = Pointwise(%x, fn='exp') return %y",
        ),
        (
            "%a: f32[2,3,4] = Pointwise(%x, fn='relu') "
            "%b: f32[2,3,4] = Pointwise(%a, fn='relu') "
            "%c: f32[2,3,4] = Pointwise(%b, fn='neg') "
            "%y: f32[2,3,4] = Pointwise(%c, fn='neg') return %y",
            "%y: f32[2,3,4] = Pointwise(%x, fn='relu') return %y",
        ),
        (
            "weight %w: f32[4] = ? %a: f32[2,3,4] = Broadcast(%w, shape=(2, 3, 4)) "
            "%y: f32[2,3,4] = Pointwise(%a, %x, fn='add') return %y",
            "weight %w: f32[4] = ? %y: f32[2,3,4] = Pointwise(%w, %x, fn='add') return %y",
        ),
    ],
)
def test_goes(check, before, after):
    check(RULES, program(before.replace("'", '"')), program(after.replace("'", '"')))


def test_axes_of_extent_one(check):
    head = "%x: f32[1,3,1,1]"
    check(
        RULES,
        program(
            "%t: f32[3,1,1,1] = Transpose(%x, perm=(1, 3, 0, 2)) "
            '%m: f32[3,1,1] = Reduce(%t, kind="mean", axes=(2,), keep=False) '
            '%y: f32[3,1,1] = Pointwise(%m, fn="exp") return %y',
            head,
        ),
        program(
            "%t: f32[3,1,1] = Reshape(%x, shape=(3, 1, 1)) "
            '%y: f32[3,1,1] = Pointwise(%t, fn="exp") return %y',
            head,
        ),
    )


@pytest.mark.parametrize(
    "body",
    [
        "%y: f32[2,3,4] = Identity(%x) return %y",  # an output is a value of its own
        "%y: f32[2,3,4] = Slice(%x, starts=(1, 0, 0), sizes=(2, 3, 4), steps=(-1, 1, 1)) return %y",
        'weight %z: f32[5,1,1,1] = [0,0,0,0,0] %y: f32[5,2,3,4] = Pointwise(%x, %z, fn="add") '
        "return %y",
        'weight %z: f32[] = 0 %y: f32[2,3,4] = Pointwise(%z, %x, fn="sub") return %y',
        'weight %z: f32[] = 1 %y: f32[2,3,4] = Pointwise(%z, %x, fn="div") return %y',
        "%a: i32[2,3,4] = Cast(%x, to=i32) %y: f32[2,3,4] = Cast(%a, to=f32) return %y",
    ],
)
def test_stays(check, body):
    check(RULES, program(body))


def test_outputs_keep_their_names(check):
    check(
        RULES,
        program(
            '%e: f32[2,3,4] = Pointwise(%x, fn="exp") %y: f32[2,3,4] = Identity(%e) '
            "%z: f32[2,3,4] = Identity(%e) return %y, %z"
        ),
        program(
            '%y: f32[2,3,4] = Pointwise(%x, fn="exp") %z: f32[2,3,4] = Identity(%y) return %y, %z'
        ),
    )
