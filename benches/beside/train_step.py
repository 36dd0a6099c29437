"""One update of DiffPrune on the small model: ours beside the same computation in PyTorch, alternating, on one machine.

    python -m venv beside && beside/bin/pip install torch transformers safetensors
    cargo build -r -p diffprune-cli
    beside/bin/python benches/beside/train_step.py --diffprune target/release/diffprune --out benches/runs/NAME

Both learn from the same stored tokens and captions (`diffprune encode`), in batches of 32, with the same sizes: scorer of two blocks,
soft top-k, throttler, denoiser of one block, frozen projector and language model, AdamW, all in f32. A time is the difference of two trainings of
our program, divided by the difference of their updates, so that starting and reading do not count; PyTorch's is the mean over as many
updates after two that do not count. Threads: those of the machine on both sides. Results: `train_step.csv`, and the ratios printed.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
import transformers
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

BATCH = 32
SHORT, LONG = 2, 22
TAU = 0.5


class Block(nn.Module):
    """A pre-norm transformer block; with `diagonal` each token attends to itself alone."""

    def __init__(self, width, heads, diagonal=False):
        super().__init__()
        self.heads, self.diagonal = heads, diagonal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, width if diagonal else 3 * width)
        self.out = nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x):
        if self.diagonal:
            return self.out(self.qkv(x))
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class SoftTopK(torch.autograd.Function):
    """Laplace soft top-k of scores over a temperature, by sorting; the backward pass is the analytic derivative."""

    @staticmethod
    def forward(ctx, x, k):
        n = x.shape[-1]
        ordered = x.sort(dim=-1, descending=True).values
        above = torch.logcumsumexp(-ordered, -1)[:, :-1]
        below = torch.logcumsumexp(ordered.flip(-1), -1).flip(-1)[:, 1:]
        m = torch.arange(1, n, device=x.device)
        inner = (below - above) / 2 - torch.asinh((k - m) * torch.exp(-(above + below) / 2))
        fits = (ordered[:, 1:] <= inner) & (inner <= ordered[:, :-1])
        place = fits.to(torch.uint8).argmax(-1, keepdim=True)
        threshold = inner.gather(-1, place)
        u = x - threshold
        half = torch.exp(-u.abs()) / 2
        alpha = torch.where(u <= 0, half, 1 - half)
        ctx.save_for_backward(half)
        return alpha

    @staticmethod
    def backward(ctx, grad):
        (w,) = ctx.saved_tensors
        mean = (w * grad).sum(-1, keepdim=True) / w.sum(-1, keepdim=True)
        return w * (grad - mean), None


class Trainee(nn.Module):
    """Scorer and denoiser."""

    def __init__(self, width):
        super().__init__()
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList([Block(width, 4), Block(width, 4)])
        self.head = nn.Linear(width, 1, bias=False)
        self.denoiser = Block(width, 16, diagonal=True)
        for layer in (self.denoiser.out, self.denoiser.linear2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens, k):
        x = self.norm_in(tokens)
        for block in self.blocks:
            x = block(x)
        scores = self.head(self.norm_out(x)).squeeze(-1)
        mean, var = scores.mean(-1, keepdim=True), scores.var(-1, unbiased=False, keepdim=True)
        alpha = SoftTopK.apply((scores - mean) / (var + 1e-6).sqrt() / TAU, k)
        alpha = alpha.clamp(1e-6, 1 - 1e-6).unsqueeze(-1)
        sigma = tokens.std((1, 2), unbiased=False, keepdim=True)
        noisy = alpha.sqrt() * tokens + (1 - alpha).sqrt() * sigma * torch.randn_like(tokens)
        return self.denoiser(noisy)


def read_features(folder):
    """Tokens `[samples, n, d]` and captions."""
    tokens, captions = [], []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            captions += [sample["caption"] for sample in json.loads(file.metadata()["diffprune"])["samples"]]
            tokens.append(file.get_tensor("tokens").float())
    tokens = torch.cat(tokens)
    return tokens.view(len(captions), -1, tokens.shape[-1]), captions


def texts(model_dir, captions, image_id):
    """Ids `[samples, longest]`, which of them are targets, and the place of the image."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    tail = tokenizer.convert_tokens_to_ids("</s>")
    rows = []
    for caption in captions:
        start = tokenizer("USER: <image>\nDescribe the image. ASSISTANT:").input_ids
        whole = tokenizer(f"USER: <image>\nDescribe the image. ASSISTANT: {caption}").input_ids + [tail]
        rows.append((whole, len(start)))
    place = rows[0][0].index(image_id)
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    asked = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, (whole, start) in enumerate(rows):
        ids[row, : len(whole)] = torch.tensor(whole)
        asked[row, start : len(whole)] = True
    return ids, asked, place


def pytorch_update(vlm, trainee, optimizer, tokens, ids, asked, place, k):
    language = vlm.model.language_model
    visual = vlm.model.multi_modal_projector(trainee(tokens, k))
    words = language.get_input_embeddings()(ids)
    embeds = torch.cat([words[:, :place], visual, words[:, place + 1 :]], 1)
    n_visual = visual.shape[1]
    # Right padding under a causal mask: what stands behind a text is not read by it.
    hidden = language(inputs_embeds=embeds).last_hidden_state
    hidden = hidden[:, place + n_visual - 1 : -1]
    targets, wanted = ids[:, place + 1 :], asked[:, place + 1 :]
    logits = vlm.lm_head(hidden[wanted])
    loss = F.cross_entropy(logits, targets[wanted])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    optimizer.step()
    return loss.item(), targets[wanted].numel()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diffprune", required=True, type=pathlib.Path)
    parser.add_argument("--model", default="assets/mini-llava-1.5", type=pathlib.Path)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)

        def ours(*words):
            subprocess.run([args.diffprune, "-q", *map(str, words)], check=True, stdout=subprocess.DEVNULL)

        ours("mini", "data", "--out", tmp / "world", "--images", 256, "--val-images", 4)
        ours("encode", "--model", args.model, "--data", tmp / "world", "--out", tmp / "features", "--precision", "f32", "--dtype", "f32")
        settings = f'batch = {BATCH}\nlr = 1e-3\n[validation]\nevery = 0\n[diffprune]\nbudget = "1/9"\nscorer = "mini"\n'
        (tmp / "train.toml").write_text(settings)

        def our_training(steps):
            start = time.perf_counter()
            run = tmp / f"run-{time.monotonic_ns()}"
            ours(
                "train", "--model", args.model, "--features", tmp / "features", "--out", run,
                "--config", tmp / "train.toml", "--steps", steps, "--dtype", "f32",
            )
            return time.perf_counter() - start

        vlm = transformers.LlavaForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32)
        vlm.requires_grad_(False)
        tokens, captions = read_features(tmp / "features" / "train")
        ids, asked, place = texts(args.model, captions, vlm.config.image_token_id)
        trainee = Trainee(tokens.shape[-1])
        optimizer = torch.optim.AdamW(trainee.parameters(), lr=1e-3, weight_decay=0.01)
        k = round(tokens.shape[1] / 9)

        def pytorch_training(steps):
            for step in range(steps):
                if step == SHORT:
                    start = time.perf_counter()
                rows = torch.randperm(len(captions))[:BATCH]
                loss, asked_for = pytorch_update(
                    vlm, trainee, optimizer, tokens[rows], ids[rows], asked[rows], place, k
                )
            return (time.perf_counter() - start) / (steps - SHORT), loss, asked_for

        rows = []
        for round_ in range(args.rounds):
            our_step = (our_training(LONG) - our_training(SHORT)) / (LONG - SHORT)
            their_step, loss, asked_for = pytorch_training(LONG)
            rows.append((round_, our_step, their_step, our_step / their_step))
            print(f"round {round_}: ours {our_step:.3f} s, PyTorch {their_step:.3f} s ({asked_for} targets, loss {loss:.3f})")
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "train_step.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["round", "ours_seconds", "pytorch_seconds", "ours_over_pytorch"])
        writer.writerows(rows)
    ratios = [row[3] for row in rows]
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads: "
        f"ours over PyTorch {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
    )


if __name__ == "__main__":
    main()
