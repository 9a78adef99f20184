"""A Mamba encoder swarm for transformers, in plain PyTorch.

The first layers of a Mamba exist in several versions, the encoders. A router reads the token ids and
decides which k of them run; an aggregator mixes their outputs; the other layers are the decoder.
Each of the k slots is an ordinary Mamba whose norm, in_proj and out_proj belong to the encoder in the
slot, while convolution and state space belong to the slot. Gives the logits of `mes`.

Letters: B texts, T tokens, k slots, d hidden size.
Texts are moved to the left of a batch at the entrance, whatever the attention mask, and back at the
end: then padding follows a text, and neither router nor state ever sees it.
"""

import math

import torch
from torch import nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.models.mamba.modeling_mamba import MambaCausalLMOutput, MambaOutput

from .configuration_mamba_swarm import MambaSwarmConfig
from .layers_mamba_swarm import Layer, Mixer, RMSNorm, linear, rms_normalize
from .router_mamba_swarm import Reader, Router



class MambaSwarmCache(Cache):
    """What the model remembers of a batch of texts, whatever their length and the number of encoders.

    domain, one of encoder_domains, lets that domain's encoders run until the router first decides.
    """

    def __init__(self, config, batch_size, domain=None):
        super().__init__(layers=[])
        k = config.num_encoders_per_token
        slots = []
        if domain is not None:
            slots = [e for e, name in enumerate(config.encoder_domains) if name == domain]
            if not slots:
                raise ValueError(f"no encoder is for domain {domain!r}; there are {sorted(set(config.encoder_domains))}")
        slots = (slots + [e for e in config.default_encoders if e not in slots])[:k]
        averages = torch.zeros(len(config.router_half_lives), config.router_dim, dtype=torch.float64)
        self.readers = [Reader(0, averages, tuple(slots), torch.full((k,), 1 / k, dtype=torch.float64))] * batch_size
        self.states = [None] * config.num_hidden_layers  # (conv, ssm) of each layer, [B·slots, ...]
        self.seen = 0  # columns of the batch so far, padding included

    def get_seq_length(self, layer_idx=0):
        return self.seen

    @property
    def batch_size(self):
        return len(self.readers)

    @property
    def is_croppable(self):
        return False

    def crop(self, tokens_to_remove):
        raise ValueError("a swarm's cache holds states, which cannot be turned back")

    def reset(self):
        raise ValueError("make a new MambaSwarmCache instead")

    def batch_select_indices(self, indices):
        texts = len(self.readers)
        self.readers = [self.readers[i] for i in indices.tolist()]

        def select(state):  # slots follow their text
            return state.unflatten(0, (texts, -1))[indices.to(state.device)].flatten(0, 1)

        self.states = [s and tuple(map(select, s)) for s in self.states]

    def reorder_cache(self, beam_idx):
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats):
        self.batch_select_indices(torch.arange(len(self.readers)).repeat_interleave(repeats))


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, scan=False) for _ in range(config.num_encoder_layers))


class Aggregator(nn.Module):
    """Mixes the outputs of the slots token by token, by attention from the embedding."""

    def __init__(self, config):
        super().__init__()
        self.eps = config.layer_norm_epsilon
        self.q = nn.Linear(config.hidden_size, config.aggregator_dim, bias=False)
        self.k = nn.Linear(config.hidden_size, config.aggregator_dim, bias=False)
        self.beta = nn.Parameter(torch.zeros(config.num_encoders))  # how good each encoder is
        self.quality = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, x, u, encoders, gates):
        """x: [B, T, d], the embeddings; u: [B, k, T, d]; encoders, gates: [B, k, T]. Returns [B, T, d]."""
        if u.shape[1] == 1:
            return u[:, 0]
        n = rms_normalize(u, self.eps)
        query, key = linear(self.q, rms_normalize(x, self.eps)), linear(self.k, n)
        score = (query[:, None] * key).sum(-1) / math.sqrt(key.shape[-1]) + linear(self.quality, n)[..., 0]
        score = score + self.beta.float()[encoders] + gates.clamp(min=1e-30).log()
        return (score.softmax(1)[..., None] * u).sum(1)


class MambaSwarmPreTrainedModel(PreTrainedModel):
    config_class = MambaSwarmConfig
    base_model_prefix = "backbone"
    _is_stateful = True
    _no_split_modules = ["Layer"]
    # What makes decisions and what enters the recurrence stays in float32, as in `mes`.
    _keep_in_fp32_modules_strict = ["router", "aggregator", "A_log", "D", "dt_bias", "conv1d", "norm", "norm_f", "weight_scale"]

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Loads a folder or repository; weights stored as int8 are widened."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        with torch.no_grad():
            for module in model.modules():
                if hasattr(module, "weight_scale"):
                    module.weight.copy_(module.weight.float() * module.weight_scale)
                    del module.weight_scale
        model.config.int8_weights = False
        return loaded

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, Router):
            init.normal_(module.embeddings.weight)
            init.normal_(module.proj.weight, std=1 / math.sqrt(module.proj.in_features))
            init.zeros_(module.bias)
        elif isinstance(module, Aggregator):
            init.zeros_(module.beta)
            init.zeros_(module.quality.weight)
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, Mixer):
            self._init_mixer(module)
        else:
            super()._init_weights(module)

    def _init_mixer(self, mixer):
        config = self.config
        if hasattr(mixer, "out_proj"):
            bound = 1 / math.sqrt(mixer.out_proj.in_features * config.num_hidden_layers)
            init.uniform_(mixer.out_proj.weight, -bound, bound)
        if not hasattr(mixer, "A_log"):
            return
        init.ones_(mixer.D)
        mamba2 = config.base_model_type == "mamba2"
        step = torch.empty(mixer.D.shape).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        bias = step + torch.log(-torch.expm1(-step))  # softplus(bias) = step
        init.copy_(mixer.dt_bias if mamba2 else mixer.dt_proj.bias, bias)
        if mamba2:
            init.copy_(mixer.A_log, torch.empty(mixer.A_log.shape).uniform_(1, 16).log())
        else:
            init.copy_(mixer.A_log, torch.arange(1.0, config.state_size + 1).log().expand(mixer.A_log.shape))


class MambaSwarmModel(MambaSwarmPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.router = Router(config)
        self.encoders = nn.ModuleList(Encoder(config) for _ in range(config.num_encoders))
        self.layers = nn.ModuleList(
            Layer(config, ends=l >= config.num_encoder_layers) for l in range(config.num_hidden_layers)
        )
        if config.encoder_fusion == "attention":
            self.aggregator = Aggregator(config)
        self.norm_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings

    def set_input_embeddings(self, new):
        self.embeddings = new

    def forward(
        self, input_ids=None, attention_mask=None, cache_params=None, use_cache=None, output_hidden_states=None, return_dict=None,
        inputs_embeds=None, **kwargs,
    ):  # fmt: skip
        """attention_mask [B, T or more] is 0 at padding, anywhere. cache_params continues earlier calls."""
        if input_ids is None or inputs_embeds is not None:
            raise ValueError("a swarm needs input_ids, not inputs_embeds: its router reads tokens")
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        B, T = input_ids.shape
        cache = MambaSwarmCache(self.config, B) if cache_params is None else cache_params
        mask = torch.ones_like(input_ids, dtype=torch.bool)
        if attention_mask is not None:
            mask = attention_mask[:, -T:].to(input_ids.device).bool()
        order, lengths = torch.argsort(~mask, dim=1, stable=True), mask.sum(1)
        ids = input_ids.gather(1, order)

        plan, cache.readers = self.router(ids, lengths.tolist(), cache.readers)
        x = self.embeddings(ids).float()
        hidden = [x]
        x = self.encode(x, plan, cache.states, lengths)
        for l in range(self.config.num_encoder_layers, self.config.num_hidden_layers):
            hidden.append(x)
            layer = self.layers[l]
            y, z, cache.states[l] = layer.scan(layer(x), cache.states[l], lengths)
            x = x + layer(y, z)
        hidden.append(self.norm_f(x))
        cache.seen += T

        back = torch.argsort(order, dim=1)[..., None].expand(-1, -1, x.shape[-1])
        hidden = tuple(h.gather(1, back) for h in (hidden if output_hidden_states else hidden[-1:]))
        out = MambaOutput(
            last_hidden_state=hidden[-1],
            cache_params=cache if use_cache else None,
            hidden_states=hidden if output_hidden_states else None,
        )
        return out.to_tuple() if return_dict is False else out

    def encode(self, x, plan, states, lengths):
        """Runs the encoders over x [B, T, d] as planned and mixes what they return."""
        config, index = self.config, plan.index
        merges = config.encoder_fusion == "weights"
        restart = plan.restart.any(1, keepdim=True) if merges else plan.restart
        if merges:
            jobs = [(index[:, None] == i, *decision) for i, decision in enumerate(plan.decisions)]  # [B, 1, T]
        else:
            encoders = torch.tensor([slots for slots, _ in plan.decisions], device=x.device)[index].transpose(1, 2)
            gates = torch.stack([gates for _, gates in plan.decisions]).float().to(x.device)[index].transpose(1, 2)
            jobs = [(encoders == e, (e,), None) for e in encoders.unique().tolist()]  # [B, k, T]
        S = restart.shape[1]
        u, lengths = x[:, None].expand(-1, S, -1, -1), lengths.repeat_interleave(S)
        restart = restart.flatten(0, 1) if config.encoder_state == "reset" else None
        for l in range(config.num_encoder_layers):
            ends = [self.ends(l, slots, gates) for _, slots, gates in jobs]
            p = scatter(u.shape[:-1], [(where, end(u[where])) for (where, _, _), end in zip(jobs, ends)])
            y, z, states[l] = self.layers[l].scan(p.flatten(0, 1), states[l], lengths, restart)
            y, z = y.unflatten(0, (-1, S)), z.unflatten(0, (-1, S))
            u = u + scatter(u.shape[:-1], [(where, end(y[where], z[where])) for (where, _, _), end in zip(jobs, ends)])
        return u[:, 0] if merges else self.aggregator(x, u, encoders, gates)

    def ends(self, l, slots, gates):
        """Layer l of an encoder, or with gates the weighted sum of the layers of several."""
        layers = [self.encoders[e].layers[l] for e in slots]
        if gates is None:
            return layers[0]
        terms = [dict(layer.named_parameters()) for layer in layers]
        gates = gates.float().to(terms[0]["norm.weight"].device)
        merged = {name: sum(g * t[name].float() for g, t in zip(gates, terms)) for name in terms[0]}
        return lambda *inputs: torch.func.functional_call(layers[0], merged, inputs)


def scatter(shape, parts):
    """Puts values [tokens, n] where the masks [shape] say, which cover all of it."""
    out = parts[0][1].new_zeros(*shape, parts[0][1].shape[-1])
    for where, values in parts:
        out[where] = values
    return out


class MambaSwarmForCausalLM(MambaSwarmPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "backbone.embeddings.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.backbone = MambaSwarmModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls):
        return False  # the first forward pass makes the cache

    def get_input_embeddings(self):
        return self.backbone.embeddings

    def set_input_embeddings(self, new):
        self.backbone.embeddings = new

    def forward(
        self, input_ids=None, attention_mask=None, cache_params=None, use_cache=None, output_hidden_states=None, return_dict=None,
        labels=None, logits_to_keep=0, inputs_embeds=None, **kwargs,
    ):  # fmt: skip
        """labels [B, T], -100 where ignored, are shifted here. logits_to_keep: logits of the last tokens alone."""
        out = self.backbone(input_ids, attention_mask, cache_params, use_cache, output_hidden_states, inputs_embeds=inputs_embeds)
        hidden = out.last_hidden_state
        if isinstance(logits_to_keep, int):
            hidden = hidden[:, -logits_to_keep:]  # 0 keeps all
        else:
            hidden = hidden[:, logits_to_keep]
        logits = linear(self.lm_head, hidden)
        loss = None
        if labels is not None:
            count = {key: kwargs[key] for key in ("num_items_in_batch",) if key in kwargs}
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **count)
        out = MambaCausalLMOutput(loss=loss, logits=logits, cache_params=out.cache_params, hidden_states=out.hidden_states)
        return out.to_tuple() if return_dict is False else out


__all__ = ["MambaSwarmCache", "MambaSwarmForCausalLM", "MambaSwarmModel", "MambaSwarmPreTrainedModel"]
