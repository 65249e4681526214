"""The exact law of what masked diffusion writes, for sentences that can be enumerated: no sampling, no noise.

All decoders are one step repeated: draw all masked words, then choose which words to keep. Here that step is applied to
probabilities. A state is a set of known positions and the words there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import validate
from course_lib.methods.masked import ORDERS, WordDenoiser, log_probabilities, ranks, remasking


class Enumerated:
    """All V^L sentences of `length` L from `words` V, and what a denoiser predicts in each state; the mask is the number V.

    `x` (N, L) are the sentences. `known` (S, L), S = 2^L, are the sets of known positions. `log_p` (S, N, L) is the logarithm
    of the probability of each word of each sentence, given its known words, and `top` that of the most probable word there.
    """

    def __init__(self, denoiser: WordDenoiser, words: int = 4, length: int = 6):
        validate.sizes(words=words, length=length)
        self.V, self.L = words, length
        count = lambda n: torch.arange(n, dtype=torch.long, device="cpu")
        self.x = torch.cartesian_prod(*[count(words)] * length).view(-1, length)
        self.known = torch.cartesian_prod(*[count(2).bool()] * length).view(-1, length)
        self.places = count(length).flip(0)  # the exponents of a sentence's number
        tables = [self._predict(denoiser, known) for known in self.known]
        self.log_p, self.top = (torch.stack(table) for table in zip(*tables))
        self.filling = torch.where(self.known[:, None], 0, self.log_p).sum(2).exp()  # that the masked words are drawn so

    @torch.no_grad()
    def _predict(self, denoiser: WordDenoiser, known: Tensor) -> tuple[Tensor, Tensor]:
        """`log_p` and `top` (N, L) of one set of known positions; states that are alike are predicted once."""
        first = torch.where(known, self.x, 0)  # of the sentences with the same known words
        own = (first == self.x).all(1)
        log_p = log_probabilities(denoiser, torch.where(known, self.x, self.V)[own], self.V).double()
        alike = (own.cumsum(0) - 1)[(first * self.V**self.places).sum(1)]
        return log_p[alike].gather(2, self.x[..., None])[..., 0], log_p.amax(2)[alike]

    def bound(self) -> Tensor:
        """The bound on -log p of each sentence, in nats, (N,): the mean of the loss over all times and masks.

        Of m masked words in L the weight is the integral of t^(m - 1) (1 - t)^(L - m) over t.
        """
        m = (~self.known).sum(1).tolist()
        weight = [math.factorial(k - 1) * math.factorial(self.L - k) / math.factorial(self.L) if k else 0.0 for k in m]
        missing = torch.where(self.known[:, None], 0, -self.log_p).sum(2)
        return (self.x.new_tensor(weight, dtype=torch.float64)[:, None] * missing)[:-1].sum(
            0
        )  # without the state that has no mask

    def decode(self, n: int, order: str = "random") -> Tensor:
        """The probability with which `parallel_decoding` writes each sentence in n steps, (N,)."""
        validate.choice("order", order, ORDERS)
        rank = ranks((self.top if order == "position" else self.log_p).exp(), ~self.known[:, None])
        state = self._masked()
        for k in range(1, validate.at_least("n", n, 1) + 1):
            left = self.L * (n - k) // n
            if order == "random":
                state = self._keep(self._by_chance(left).T @ (state * self.filling))
            else:
                known = self.known[:, None] | (rank < (~self.known[:, None]).sum(2, keepdim=True) - left)
                to = (known * 2**self.places).sum(2)
                state = self._keep(torch.zeros_like(state).scatter_add_(0, to, state * self.filling))
        return state[-1]

    def ancestral(self, n: int, eta: float = 0.0) -> Tensor:
        """The probability with which `ancestral_words` writes each sentence in n steps, (N,)."""
        state = self._masked()
        for k in range(validate.at_least("n", n, 1), 0, -1):
            sigma, unmask = remasking(k / n, (k - 1) / n, validate.finite("eta", eta, 0, 1))
            stay = torch.where(self.known, self.filling.new_tensor(1 - sigma), unmask)[
                :, None
            ]  # that a word is known after the step
            state = self._keep(torch.where(self.known, stay, 1 - stay).prod(2).T @ (state * self.filling))
        return state[-1]

    def _masked(self) -> Tensor:
        """The probability (S, N) of each state at the start: a state stands at each sentence that has its known words."""
        state = torch.zeros_like(self.filling)
        state[0] = 1
        return state

    def _keep(self, filled: Tensor) -> Tensor:
        """The states (S, N), from the probability (S, N) of the next known positions and the sentence that was drawn."""
        state = []
        for known, p in zip(self.known, filled):
            lost = [i for i in range(self.L) if not known[i]]
            p = p.view([self.V] * self.L)
            state.append((p.sum(lost, keepdim=True) if lost else p).expand([self.V] * self.L).flatten())
        return torch.stack(state)

    def _by_chance(self, left: int) -> Tensor:
        """The probability (S, S) of each next set of known positions: any that adds so many that `left` are masked."""
        more = (self.known[None] >= self.known[:, None]).all(2) & ((~self.known).sum(1) == left)
        return more.double() / more.sum(1, keepdim=True).clamp(min=1)
