"""The layers of a Mamba encoder swarm: the blocks of Mamba, Falcon-Mamba and Mamba-2 in plain PyTorch.

Letters: n sequences, T tokens, d hidden size, di width of a mixer, N state, K kernel, G groups.
"""

import torch
import torch.nn.functional as F
from torch import nn



def linear(module, x):
    """A product in the type of the weights; everything around it is float32."""
    return module(x.to(module.weight.dtype)).float()


def rms_normalize(x, eps):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return rms_normalize(x, self.eps) * self.weight.float()


class Mixer(nn.Module):
    """The tensors of a layer: its ends, which an encoder owns, its scan, which all encoders share, or both."""

    def __init__(self, config, ends, scan):
        super().__init__()
        d, di, state = config.hidden_size, config.intermediate_size, config.state_size
        mamba2 = config.base_model_type == "mamba2"
        channels = di + 2 * config.n_groups * state if mamba2 else di
        if ends:
            width = di + channels + config.num_heads if mamba2 else 2 * di
            self.in_proj = projection(config, d, width)
            self.out_proj = projection(config, di, d)
            if mamba2 and config.rms_norm:
                self.norm = RMSNorm(di, config.layer_norm_epsilon)
        if not scan:
            return
        self.conv1d = nn.Conv1d(channels, channels, config.conv_kernel, groups=channels, bias=config.use_conv_bias)
        if mamba2:
            self.dt_bias = nn.Parameter(torch.ones(config.num_heads))
            self.A_log = nn.Parameter(torch.zeros(config.num_heads))
            self.D = nn.Parameter(torch.ones(config.num_heads))
        else:
            self.x_proj = nn.Linear(di, config.time_step_rank + 2 * state, bias=False)
            self.dt_proj = nn.Linear(config.time_step_rank, di)
            self.A_log = nn.Parameter(torch.zeros(di, state))
            self.D = nn.Parameter(torch.ones(di))


def projection(config, wide, out):
    module = nn.Linear(wide, out, bias=config.use_bias)
    if config.int8_weights:
        module.weight_scale = nn.Parameter(torch.ones(out, 1))
    return module


class Layer(nn.Module):
    """x + leave(scan(enter(x))). A layer of an encoder has the ends alone, one of the core below the decoder the scan."""

    def __init__(self, config, ends=True, scan=True):
        super().__init__()
        self.config = config
        self.mixer = Mixer(config, ends, scan)
        if ends:
            self.norm = RMSNorm(config.hidden_size, config.layer_norm_epsilon)

    def forward(self, x, gate=None):
        """Enters x [..., d], or leaves with x and its gate [..., di]."""
        if gate is None:
            return linear(self.mixer.in_proj, self.norm(x))
        return linear(self.mixer.out_proj, self.gated(x, gate))

    def gated(self, y, z):
        config = self.config
        if config.base_model_type != "mamba2" or not config.rms_norm:
            return y * F.silu(z)
        norm = self.mixer.norm

        def grouped(x):
            x = rms_normalize(x.unflatten(-1, (-1, config.norm_group_size)), config.layer_norm_epsilon)
            return x.flatten(-2) * norm.weight.float()

        return grouped(y) * F.silu(z) if config.norm_before_gate else grouped(y * F.silu(z))

    def scan(self, p, state, lengths, restart=None):
        """Convolution and state space over p [n, T, ·], of which lengths [n] tokens count.

        state is what the last call returned, or None. restart [n, T] marks tokens before which the state
        becomes zero. Returns y and the gate's input z, both [n, T, di], and the state.
        """
        config, mixer = self.config, self.mixer
        di, N = config.intermediate_size, config.state_size
        conv, ssm = state or (None, None)
        valid = (torch.arange(p.shape[1], device=p.device) < lengths[:, None])[..., None]  # padding leaves the state
        if config.base_model_type == "mamba2":
            G, H, P = config.n_groups, config.num_heads, config.head_dim
            z, x, delta = p.split([di, di + 2 * G * N, H], -1)
            x, conv = self.convolve(x, conv, lengths, restart)
            x, b, c = x.split([di, G * N, G * N], -1)
            x, b, c = x.unflatten(-1, (G, H // G, P)), b.unflatten(-1, (G, N)), c.unflatten(-1, (G, N))
            delta = F.softplus(delta + mixer.dt_bias.float()).clamp(*config.time_step_limit) * valid
            decay = (delta * -mixer.A_log.float().exp()).unflatten(-1, (G, -1))
            delta, skip = delta.unflatten(-1, (G, -1, 1)), mixer.D.float().view(G, -1, 1)
            y, ssm = ssd(ssm, decay, delta * x, b, c, restart, config.chunk_size)
            return (y + x * skip).flatten(-3), z, (conv, ssm)
        x, z = p.split([di, di], -1)
        x, conv = self.convolve(x, conv, lengths, restart)
        delta, b, c = linear(mixer.x_proj, x).split([config.time_step_rank, N, N], -1)
        if config.base_model_type == "falcon_mamba":
            delta, b, c = (rms_normalize(t, config.mixer_rms_eps) for t in (delta, b, c))
        delta = F.softplus(linear(mixer.dt_proj, delta)) * valid
        y, ssm = selective_scan(ssm, -mixer.A_log.float().exp(), delta, delta * x, b, c, restart)
        return y + x * mixer.D.float(), z, (conv, ssm)

    def convolve(self, x, before, lengths, restart):
        """The causal convolution and SiLU. x: [n, T, C]; before: its last K-1 inputs, or None."""
        weight, bias = self.mixer.conv1d.weight.float(), self.mixer.conv1d.bias
        n, T, K = x.shape[0], x.shape[1], weight.shape[-1]
        x = torch.cat([x.new_zeros(n, K - 1, x.shape[-1]) if before is None else before, x], 1)
        last = lengths[:, None] + torch.arange(K - 1, device=x.device)  # where the last K-1 inputs are
        if restart is None:
            y = F.conv1d(x.transpose(1, 2), weight, groups=x.shape[-1]).transpose(1, 2)
        else:  # inputs of before a restart count as zero after it
            era = F.pad(restart.cumsum(1), (K - 1, 0))
            alike = [era[:, j : j + T] == era[:, K - 1 :] for j in range(K)]
            y = sum(x[:, j : j + T] * weight[:, 0, j] * alike[j][..., None] for j in range(K))
            x = x * (era == era.gather(1, (lengths[:, None] + K - 2).clamp(min=0)))[..., None]
        if bias is not None:
            y = y + bias.float()
        return F.silu(y), x.gather(1, last[..., None].expand(-1, -1, x.shape[-1]))


def selective_scan(h, a, delta, dx, b, c, restart):
    """Mamba-1: h_t = exp(delta_t a) h_{t-1} + dx_t b_t and y_t = h_t c_t, token by token.

    Scanning by doubling within chunks does the work of log2(chunk) loops: on a CPU it took 1.7 to 5 times as long.
    h: [n, di, N] or None; a: [di, N]; delta, dx: [n, T, di]; b, c: [n, T, N]; restart: [n, T] or None.
    """
    ys, h = [], dx.new_zeros(dx.shape[0], *a.shape) if h is None else h
    for t in range(delta.shape[1]):
        if restart is not None:
            h = h * ~restart[:, t, None, None]
        h = torch.exp(delta[:, t, :, None] * a) * h + dx[:, t, :, None] * b[:, t, None]
        ys.append((h @ c[:, t, :, None]).squeeze(-1))
    return torch.stack(ys, 1), h


def ssd(h, decay, dx, b, c, restart, size):
    """Mamba-2: h_t = exp(decay_t) h_{t-1} + dx_t b_t and y_t = h_t c_t, by matrix products within chunks.

    h: [n, G, J, P, N] or None; decay: [n, T, G, J]; dx: [n, T, G, J, P]; b, c: [n, T, G, N]; restart: [n, T] or None.
    """
    if restart is None:
        restart = torch.zeros(dx.shape[:2], dtype=torch.bool, device=dx.device)
    ys, h = [], dx.new_zeros(dx.shape[0], *dx.shape[2:], b.shape[-1]) if h is None else h
    for decay, dx, b, c, restart in zip(*(t.split(size, 1) for t in (decay, dx, b, c, restart))):
        total, era = decay.cumsum(1), restart.cumsum(1)  # tokens of one era have no restart between them
        sees = (era[:, :, None] == era[:, None]).tril()  # token i sees token j of its chunk
        reach = (total[:, :, None] - total[:, None]).masked_fill(~sees[..., None, None], -torch.inf).exp()
        y = torch.einsum("nigs,njgs,nijgh,njghp->nighp", c, b, reach, dx)
        entering = total.exp() * (era == 0)[..., None, None]
        ys.append(y + torch.einsum("nigs,nghps,nigh->nighp", c, h, entering))
        leaving = (total[:, -1:] - total).exp() * (era == era[:, -1:])[..., None, None]
        h = h * entering[:, -1, ..., None, None] + torch.einsum("njgs,njghp,njgh->nghps", b, dx, leaving)
    return torch.cat(ys, 1), h
