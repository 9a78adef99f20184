"""The router of a Mamba encoder swarm: reads token ids and decides which encoders run on the next tokens."""

import heapq
import math
from dataclasses import dataclass, replace

import torch
from torch import nn



@dataclass
class Reader:
    """What the router remembers of a text. It is never changed, only replaced."""

    position: int
    averages: torch.Tensor  # [half-lives, router_dim] float64
    slots: tuple  # encoder in each slot
    gates: torch.Tensor  # [k] float64, weight of each slot


@dataclass
class Plan:
    """Which encoders run on which tokens: token t of text b follows decisions[index[b, t]]."""

    decisions: list  # of (slots, gates)
    index: torch.Tensor  # [B, T]
    restart: torch.Tensor  # [B, k, T] bool: the slot's encoder is another than one token before


class Router(nn.Module):
    """Decides in float64 on the host, from the tokens before a decision alone: the plan does not depend on how a
    text is cut into calls."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embeddings = nn.Embedding(config.vocab_size, config.router_dim)
        self.proj = nn.Linear(len(config.router_half_lives) * config.router_dim, config.num_encoders, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.num_encoders))  # balances the choice, is no part of the gates

    def forward(self, ids, lengths, readers):
        """Plans ids [B, T] and returns the plan and the readers after them."""
        rows = self.embeddings(ids).double().cpu()
        index = torch.zeros(ids.shape, dtype=torch.long)
        restart = torch.zeros(ids.shape[0], self.config.num_encoders_per_token, ids.shape[1], dtype=torch.bool)
        decisions, after = [], []
        for text, reader in enumerate(readers):
            decisions.append((reader.slots, reader.gates))
            for t in range(lengths[text]):
                if self.decides(reader.position):
                    previous, reader = reader, self.decide(reader)
                    decisions.append((reader.slots, reader.gates))
                    restart[text, :, t] = torch.tensor([a != b for a, b in zip(previous.slots, reader.slots)])
                index[text, t] = len(decisions) - 1
                reader = self.read(reader, rows[text, t])
            index[text, lengths[text] :] = len(decisions) - 1
            after.append(reader)
        return Plan(decisions, index.to(ids.device), restart.to(ids.device)), after

    def decides(self, position):
        config = self.config
        if config.router_granularity == "sequence":
            return position == config.router_sequence_position
        return position > 0 and (config.router_granularity == "token" or position % config.router_chunk_length == 0)

    def held(self, n):
        """The weight that each average has given to n tokens, 1 - 2^(-n / half-life)."""
        return torch.tensor([[-math.expm1(-n * math.log(2) / h)] for h in self.config.router_half_lives], dtype=torch.float64)

    def read(self, reader, row):
        kept = torch.tensor([[2 ** (-1 / h)] for h in self.config.router_half_lives], dtype=torch.float64)
        return replace(reader, position=reader.position + 1, averages=kept * reader.averages + self.held(1) * row)

    def decide(self, reader):
        rho = (reader.averages / self.held(reader.position)).flatten()
        if rho.any():
            rho = rho / rho.square().mean().sqrt()
        z = (self.proj.weight.cpu().double() * rho).sum(-1) / self.config.router_temperature
        scores = torch.sigmoid(z)  # [E]
        slots = self.choose(reader.slots, (scores + self.bias.cpu().double()).tolist())
        chosen = scores[list(slots)]
        gates = chosen / chosen.sum() if chosen.sum() > 0 else torch.full_like(chosen, 1 / len(slots))
        return replace(reader, slots=slots, gates=gates)

    def choose(self, slots, values):
        """Swaps the best outsider for the worst encoder in a slot as long as it leads by the hysteresis.

        At a lead of exactly that the lower index wins. Newcomers fill the freed slots, lowest first.
        """

        def rank(e):
            return -values[e], e

        best = heapq.nsmallest(len(slots), range(len(values)), key=rank)
        outsiders = [e for e in best if e not in slots]
        worst = sorted(range(len(slots)), key=lambda s: rank(slots[s]), reverse=True)
        freed = []
        for outsider, slot in zip(outsiders, worst):
            lead = values[outsider] - values[slots[slot]]
            delta = self.config.router_hysteresis
            if not (lead > delta or lead == delta and outsider < slots[slot]):
                break
            freed.append(slot)
        slots = list(slots)
        for slot, newcomer in zip(sorted(freed), outsiders):
            slots[slot] = newcomer
        return tuple(slots)
