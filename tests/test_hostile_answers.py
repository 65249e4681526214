"""A verdict never raises, and an answer that fails is wrong: every check is given functions that no student should write."""

import sys
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_lib.teaching import checks as check
from course_lib.teaching.checks.check import Case, Check
from course_lib.teaching.checks.spy import PROCESS

CHECKS = {c.name: c for c in vars(check).values() if isinstance(c, Check)}
NAN = float("nan")


@pytest.fixture(autouse=True)
def packages(request):
    """The check of a whole pipeline needs tokenizers and text encoders."""
    if "pipeline_by_hand" in request.node.name:
        pytest.importorskip("transformers")


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no picture")


class Evasive:
    """Answers anything to whatever it is asked, itself included, and raises when it is called."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args):
        raise Unspeakable


class Stubborn(Tensor):
    """A tensor on which no function of torch works."""

    @classmethod
    def __torch_function__(cls, *args, **kwargs):
        raise RuntimeError("not with me")


def raising(make_error):
    def fn(*args):
        raise make_error()

    return fn


def endless(*args):
    return endless(*args)


def unfinished(*args):
    half = len(args) / 2
    raise NotImplementedError(f"{half} of it is there")


def by_hand(*args):
    whole = getattr(__builtins__, "Ellipsis", None) or __builtins__["Ellipsis"]
    return whole if args else None


def index(*args):
    return torch.zeros(3)[..., 0] + "a"


def generator(*args):
    yield from args


def answering(value):
    return lambda *args: deepcopy(value)


def every_tensor(change):
    """The right answer, with each tensor in it changed."""

    def through(value):
        if isinstance(value, tuple):
            return tuple(map(through, value))
        return change(torch.as_tensor(value, dtype=torch.float32))

    return lambda reference: lambda *args, **kwargs: through(reference(*args, **kwargs))


def vandalise(value, seen):
    """Writes into all that can be reached from a value."""
    if id(value) in seen or isinstance(value, type):
        return
    seen[id(value)] = value
    if isinstance(value, Tensor):
        value.detach().zero_()
    elif isinstance(value, (list, tuple)):
        for each in value:
            vandalise(each, seen)
    elif isinstance(value, torch.Generator):
        value.manual_seed(99)
    elif hasattr(value, "__dict__"):
        for each in [*vars(value).values(), *vars(type(value)).values()]:
            vandalise(each, seen)
        for each in [e for e in vars(value).values() if isinstance(e, (dict, list))]:
            each.clear()
        for name in ("T", "alpha_bar", "view"):
            if name in vars(value):
                object.__setattr__(value, name, None)
    elif isinstance(value, dict):
        for each in list(value.values()):
            vandalise(each, seen)


def vandal(*args):
    vandalise(args, {})
    return args[0]


# The words that the verdict must hold, beside the function; the state is "wrong" for all of them.
WRONG = {
    "raises": (raising(lambda: ValueError("<b>\nno")), "it raised ValueError: <b> no"),
    "raises SystemExit": (lambda *args: sys.exit(3), "it raised SystemExit: 3"),
    "raises GeneratorExit": (raising(GeneratorExit), "it raised GeneratorExit"),
    "raises what cannot be shown": (raising(Unspeakable), "it raised Unspeakable: an error that cannot be shown"),
    "raises what cannot be written": (raising(lambda: ValueError("\ud800")), "it raised ValueError: ?"),
    "says ellipsis": (raising(lambda: TypeError("an ellipsis")), "it raised TypeError: an ellipsis"),
    "is half written": (unfinished, "it raised NotImplementedError"),
    "has the wrong arity": (lambda: 1, "it raised TypeError"),
    "is a class": (Unshowable, "it raised TypeError"),
    "is a type": (complex, "it raised "),
    "is a module": (nn.Linear(2, 2), "it raised "),
    "is no function": (SimpleNamespace(a=1), "A function is needed, got namespace(a=1)."),
    "is no function, and cannot be shown": (Unshowable(), "A function is needed, got <Unshowable instance"),
    "is a tensor": (torch.ones(9, 9), "A function is needed, got tensor("),
    "is evasive": (Evasive(), "it raised Unspeakable"),
    "prints": (print, "it returns nothing; is a `return` missing?"),
    "gives Ellipsis of its own": (by_hand, "it returns `...`"),
    "has a `...` as an index": (index, "it raised TypeError"),
    "gives words": (answering("0.5"), ""),
    "gives ragged tensors": (answering([torch.ones(2), torch.ones(3)]), ""),
    "gives a dictionary": (answering({"mean": 1}), ""),
    "gives an empty tensor": (answering(torch.zeros(0)), ""),
    "gives a generator": (generator, ""),
    "gives a function": (answering(len), ""),
    "gives what cannot be shown": (lambda *args: Unshowable(), ""),
    "gives a stubborn tensor": (lambda *args: torch.ones(3).as_subclass(Stubborn), ""),
    "gives too large a number": (answering(10**400), ""),
    "gives NaN": (answering(NAN), ""),
    "gives infinity": (answering(torch.full((3, 2, 5, 4), torch.inf)), ""),
    "gives objects": (answering(np.array([None, "a"])), ""),
    "gives its arguments": (lambda *args: args, ""),
    "spoils its arguments": (vandal, ""),
}
SPOILED = {
    "complex": every_tensor(lambda x: x * (1 + 1e-9j)),
    "sparse": every_tensor(lambda x: x.to_sparse()),
    "without numbers": every_tensor(lambda x: x.to("meta")),
    "with one NaN": every_tensor(lambda x: torch.where(torch.arange(x.numel()).view(x.shape) == 0, NAN, x)),
}


@pytest.fixture(autouse=True)
def print_is_quiet(capsys):
    yield


@pytest.mark.parametrize("kind", WRONG)
def test_whatever_it_does_it_is_wrong_and_said_in_words(kind):
    fn, words = WRONG[kind]
    for name, each in CHECKS.items():
        verdict = each(fn)
        assert verdict.state == "wrong", (name, str(verdict))
        assert words in str(verdict) and not verdict.diagnosis.startswith("It looks as if"), (name, str(verdict))
        (str(verdict) + verdict._repr_html_()).encode()


def test_a_function_that_calls_itself_is_wrong():
    assert "it raised RecursionError" in str(check.add_noise(endless))


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("kind", SPOILED)
def test_a_right_answer_of_the_wrong_kind_is_wrong(kind):
    for name, each in CHECKS.items():
        verdict = each(SPOILED[kind](each.reference))
        assert verdict.state == "wrong", (name, str(verdict))


def test_ctrl_c_stops_a_check():
    with pytest.raises(KeyboardInterrupt):
        check.add_noise(raising(KeyboardInterrupt))


# What is written into reaches nobody else


def test_what_a_student_writes_into_is_theirs_alone():
    for each in CHECKS.values():
        each(vandal)
    for name, each in CHECKS.items():
        assert each(each.reference).right, (name, str(each(each.reference)))


def test_the_vandal_reaches_networks_processes_and_lists():
    net, numbers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), [torch.ones(2)]
    process = deepcopy(PROCESS)
    vandal(SimpleNamespace(net=net, process=process), numbers)
    assert not any(p.any() for p in net.parameters()) and not numbers[0].any() and not process.betas.any()
    assert PROCESS.betas.all()


def loop_in_place(network, draw, optimizer, steps, rng):
    """Right, with every operator in place."""
    losses = []
    for _ in range(steps):
        x0 = draw(rng)
        t = network.process.sample_t(len(x0), rng)
        eps = torch.randn(x0.shape, generator=rng)
        a, b = network.process.coefficients(t, x0)
        x_t = x0.mul_(a).add_(eps * b)
        error = network(x_t, t).eps
        error -= eps
        t -= 1
        optimizer.zero_grad()
        loss = error.square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def prior_in_place(prior, process, z, y, t, eps):
    error = prior(process.add_noise(z, t, eps), t, y)
    error -= z
    return (error * error).sum(1).mean()


def test_operators_in_place_are_as_right_as_others():
    assert check.training_loop(loop_in_place, strict=True).right
    assert check.prior_loss(prior_in_place, strict=True).right and check.prior_loss(prior_in_place, strict=True).right


# What is around a check does not matter


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_are_on_in_a_check_whatever_the_cell_has_switched_off(around):
    with around():
        for name, each in CHECKS.items():
            assert each(each.reference).right, (name, str(each(each.reference)))


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_default_type_does_not_matter(double):
    for name, each in CHECKS.items():
        assert each(each.reference).right, (name, str(each(each.reference)))


def switching_off(*args):
    torch.set_grad_enabled(False)
    return check.consistency_distillation.reference(*args)


def test_a_student_who_switches_gradients_off_does_so_for_their_answer_alone():
    assert check.consistency_distillation(switching_off).state == "wrong" and torch.is_grad_enabled()
    assert check.consistency_distillation(check.consistency_distillation.reference).right


def test_where_the_library_fails_as_well_the_verdict_says_so(monkeypatch):
    def broken(x):
        raise OSError("a file is missing")

    each = Check("twice", broken, [Case("two", lambda fn: fn(1))], {}, "")
    verdict = each(lambda x: 2 * x)
    assert verdict.state == "wrong" and "the library's own answer fails as well; restart the kernel" in str(verdict)


# Blank, or wrong


def blank_after_some_lines(process, *args):
    """A start is made."""
    bar = process.alpha_bar(3)
    share = ...  # write it here
    return bar * share


def blank_return(process, *args):
    bar = process.alpha_bar(3).sqrt()
    return ... if bar else bar


def blank_inside(process, *args):
    def helper(x):
        return ...

    return 1 - helper(process)


def blank_with_index(process, x0, t, eps):
    eps = eps[..., None]
    return (...).sqrt() * eps


@torch.no_grad()
def blank_in_a_decorator(*args):
    """Nothing yet."""


@torch.no_grad()
def stub_in_a_decorator(*args):
    raise NotImplementedError("write me")


def bare_stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize("fn", [blank_after_some_lines, blank_return, blank_inside, blank_with_index, blank_in_a_decorator])
def test_a_blank_that_was_left_is_not_started(fn):
    assert check.add_noise(fn).state == "not started"


@pytest.mark.parametrize("fn", [bare_stub, stub_in_a_decorator, lambda *args: None])
def test_a_stub_is_not_started(fn):
    assert check.add_noise(fn).state == "not started"


def stub_that_computes(process, x0, t, eps):
    x0 * process.alpha_bar(3)
    raise NotImplementedError


def blank_that_is_not_what_fails(process, x0, t, eps):
    todo = ...
    return {}["ellipsis"], todo


def constant(*args):
    return 3


def forgets_to_return(process, x0, t, eps):
    x0 * process.alpha_bar(3)
    ...


@pytest.mark.parametrize("fn", [stub_that_computes, blank_that_is_not_what_fails, constant, forgets_to_return])
def test_what_was_begun_and_fails_is_wrong(fn):
    assert check.add_noise(fn).state == "wrong"


def test_a_student_may_print_what_they_are_given(capsys):
    for each in CHECKS.values():
        each(print)
    assert "Network(" in capsys.readouterr().out
