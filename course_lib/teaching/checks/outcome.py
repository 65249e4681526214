"""What a student's function gives, whatever it is or does: a tensor, or why there is none."""

from __future__ import annotations

import dis
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType

import torch
from torch import Tensor


class Refused(Exception):
    """Raised by a case whose answer cannot be measured; says why, to the student."""


@dataclass(frozen=True)
class Failure:
    """A case without an answer: `says` why, in one line, and `blank` whether that is what was left to be written."""

    says: str
    blank: bool = False


def outcome(run: Callable[[Callable], Tensor], fn: Callable) -> Tensor | Failure:
    """What `run(fn)` gives, a bool or float64 on the CPU, or why it gives nothing. Raises KeyboardInterrupt alone."""
    returned: list = []

    def answering(*args, **kwargs):
        returned.clear()
        returned.append(fn(*args, **kwargs))
        if returned[0] is None or returned[0] is ...:
            raise Refused
        return returned[0]

    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the cell that checks has switched off
            value = torch.as_tensor(run(answering)).detach().as_subclass(Tensor)
            if value.is_nested or value.layout != torch.strided or value.is_complex():
                raise Refused(f"it must be a plain tensor of real numbers, got {value.layout}, {value.dtype}")
            return value.cpu() if value.dtype == torch.bool else value.cpu().double()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a student's code may raise, SystemExit too
        return _failure(fn, returned, error)


def _failure(fn: Callable, returned: list, error: BaseException) -> Failure:
    """Why there is no answer: `fn` raised the error, or else `returned` holds what it returned, which led to the error."""
    code = _code(fn)
    if returned and returned[0] is None:
        return Failure("it returns nothing; is a `return` missing?", _is_stub(code))
    if returned and returned[0] is ...:
        return Failure("it returns `...`", _has_a_blank(code))
    said = one_line(f"{type(error).__name__}: {_words(error)}")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if code and frame.filename == code.co_filename and frame.line]
    if lines or not returned:
        raised = f"it raised {said}" + (f" (at line {lines[-1].lineno}: `{lines[-1].line}`)" if lines else "")
        return Failure(raised, _is_stub(code) if isinstance(error, NotImplementedError) else _met_a_blank(error, code))
    if isinstance(error, Refused):
        return Failure(str(error))
    kind = type(returned[0]).__name__
    if isinstance(returned[0], (tuple, list)):
        return Failure(f"it returns a {kind} of {len(returned[0])}, not what is asked for ({said})")
    return Failure(f"it returns {'an' if kind[:1] in 'aeiou' else 'a'} {kind}, which cannot be measured ({said})")


def _code(fn: Callable) -> CodeType | None:
    """The function's code, under any decorators; None for what is not written in Python."""
    try:
        code = inspect.unwrap(fn).__code__
    except Exception:  # a callable object may answer anything to `.__wrapped__`
        return None
    return code if isinstance(code, CodeType) else None


STUB = {"RESUME", "NOP", "LOAD_CONST", "LOAD_GLOBAL", "PRECALL", "CALL", "RAISE_VARARGS", "RETURN_VALUE", "RETURN_CONST"}
"""What the body of a stub is compiled to."""


def _is_stub(code: CodeType | None) -> bool:
    """The body is a constant at most, or raises NotImplementedError and does nothing else."""
    if code is None or not set(code.co_names) <= {"NotImplementedError"}:
        return False
    return {instruction.opname for instruction in dis.get_instructions(code)} <= STUB


def _has_a_blank(code: CodeType | None) -> bool:
    """There is a `...` in the body, or in a function inside it."""
    parts = code.co_consts if code else ()
    return any(part is ... or isinstance(part, CodeType) and _has_a_blank(part) for part in parts)


def _met_a_blank(error: BaseException, code: CodeType | None) -> bool:
    """A calculation with a `...` that was left in the body: Python and torch name its type in these errors."""
    return isinstance(error, (TypeError, AttributeError, RuntimeError)) and "ellipsis" in _words(error) and _has_a_blank(code)


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "an error that cannot be shown"


def one_line(text: str) -> str:
    """At most 200 characters of the text, on one line, all of which can be written as UTF-8."""
    return " ".join(text.split())[:200].encode(errors="replace").decode()
