"""What transformers and timm compute with the shipped classifiers, as a fixture root for the oracle test of the ViTs.

    python mini_deit.py ASSETS FIXTURES OUT
    DIFFPRUNE_FIXTURES=OUT cargo test -p diffprune-vlm-adapters --test oracle vit::every_tensor_agrees

FIXTURES lends its pictures. Every classifier is read by transformers as it lies on the disk, and by timm after its tensors
got timm's names. Needs torch, transformers and timm.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import DeiTForImageClassificationWithTeacher

IMAGES = ["blobs_500x375", "check_336x336"]


def pixels_of(fixtures, side):
    squares = []
    for name in IMAGES:
        picture = Image.open(fixtures / "images" / f"{name}.png").convert("RGB")
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
        squares.append((np.asarray(picture, np.float32) / 255 - 0.5) / 0.5)
    return torch.tensor(np.stack(squares).transpose(0, 3, 1, 2).copy())


def timm_names(tensors, layers):
    renamed = {
        "cls_token": tensors["deit.embeddings.cls_token"],
        "dist_token": tensors["deit.embeddings.distillation_token"],
        "pos_embed": tensors["deit.embeddings.position_embeddings"],
    }
    pairs = {
        "patch_embed.proj": "deit.embeddings.patch_embeddings.projection",
        "norm": "deit.layernorm",
        "head": "cls_classifier",
        "head_dist": "distillation_classifier",
    }
    for i in range(layers):
        old, new = f"deit.encoder.layer.{i}", f"blocks.{i}"
        pairs |= {
            f"{new}.norm1": f"{old}.layernorm_before",
            f"{new}.norm2": f"{old}.layernorm_after",
            f"{new}.attn.proj": f"{old}.attention.output.dense",
            f"{new}.mlp.fc1": f"{old}.intermediate.dense",
            f"{new}.mlp.fc2": f"{old}.output.dense",
        }
        for kind in ["weight", "bias"]:
            parts = [tensors[f"{old}.attention.attention.{part}.{kind}"] for part in ["query", "key", "value"]]
            renamed[f"{new}.attn.qkv.{kind}"] = torch.cat(parts)
    for new, old in pairs.items():
        for kind in ["weight", "bias"]:
            renamed[f"{new}.{kind}"] = tensors[f"{old}.{kind}"]
    return {name: value.contiguous() for name, value in renamed.items()}


def timm_dropped(model, pixels, keep):
    tokens = model.patch_embed(pixels)
    tokens = model._pos_embed(tokens)
    kept = torch.cat([torch.arange(2), keep + 2])
    tokens = model.norm(model.blocks(model.norm_pre(tokens[:, kept])))
    return (model.head(tokens[:, 0]) + model.head_dist(tokens[:, 1])) / 2


def hole(pixels, keep, patch):
    pixels = pixels.clone()
    grid = pixels.shape[-1] // patch
    for i in set(range(grid * grid)) - set(keep.tolist()):
        y, x = i // grid * patch, i % grid * patch
        pixels[:, :, y : y + patch, x : x + patch] = 0
    return pixels


def main(assets, fixtures, out):
    vit = out / "vit"
    vit.mkdir(parents=True, exist_ok=True)
    shutil.copytree(fixtures / "images", out / "images", dirs_exist_ok=True)
    models = []
    for folder in sorted(assets.glob("mini-deit*")):
        config = json.loads((folder / "config.json").read_text())
        stored = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        pixels = pixels_of(fixtures, config["image_size"])
        n_patches = (config["image_size"] // config["patch_size"]) ** 2
        keep = torch.arange(0, n_patches, 3)
        cut = timm.create_model(
            "deit_tiny_distilled_patch16_224",
            num_classes=len(config["id2label"]),
            img_size=config["image_size"],
            patch_size=config["patch_size"],
            embed_dim=config["hidden_size"],
            depth=config["num_hidden_layers"],
            num_heads=config["num_attention_heads"],
        ).eval()
        names = timm_names(stored, config["num_hidden_layers"])
        cut.load_state_dict(names)
        whole = DeiTForImageClassificationWithTeacher.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            holes = hole(pixels, keep, config["patch_size"])
            answer = whole(pixels)
            common = {
                "pixel_values": pixels,
                "keep_patch_index": keep,
                "logits_dropped_patches": timm_dropped(cut, pixels, keep),
            }
            of_hf = common | {
                "tokens_after_pos_embed": whole.deit.embeddings(pixels),
                "logits": answer.logits,
                "cls_logits": answer.cls_logits,
                "distillation_logits": answer.distillation_logits,
                "logits_zeroed_pixels": whole(holes).logits,
            }
            of_timm = common | {
                "tokens_after_pos_embed": cut._pos_embed(cut.patch_embed(pixels)),
                "logits": cut(pixels),
                "logits_zeroed_pixels": cut(holes),
            }
        print(f"{folder.name}: largest difference of timm and transformers {(of_hf['logits'] - of_timm['logits']).abs().max():.1e}")
        name = folder.name.replace("-", "_")
        for kind, tensors in [("hf", of_hf), ("timm", of_timm)]:
            target = vit / f"{kind}_{name}"
            target.mkdir(exist_ok=True)
            if kind == "hf":
                for file in ["config.json", "model.safetensors", "preprocessor_config.json"]:
                    shutil.copy(folder / file, target / file)
            else:
                side = config["image_size"]
                facts = {
                    "architecture": "deit_tiny_distilled_patch16_224",
                    "num_classes": len(config["id2label"]),
                    "num_features": config["hidden_size"],
                    "global_pool": "token",
                    "model_args": {
                        "img_size": side,
                        "patch_size": config["patch_size"],
                        "embed_dim": config["hidden_size"],
                        "depth": config["num_hidden_layers"],
                        "num_heads": config["num_attention_heads"],
                    },
                    "pretrained_cfg": {
                        "input_size": [3, side, side],
                        "interpolation": "bicubic",
                        "mean": [0.5] * 3,
                        "std": [0.5] * 3,
                        "num_classes": len(config["id2label"]),
                        "first_conv": "patch_embed.proj",
                        "classifier": ["head", "head_dist"],
                    },
                }
                (target / "config.json").write_text(json.dumps(facts))
                save_file(names, target / "model.safetensors")
            save_file({key: value.contiguous() for key, value in tensors.items()}, target.with_suffix(".safetensors"))
            models.append({"name": target.name, "prefix_tokens": 2, "layer_norm_eps": 1e-6, "images": IMAGES})
    manifest = {"preprocess": "RGB, PIL bicubic squash to the square, /255, mean=std=0.5", "models": models}
    (vit / "manifest.json").write_text(json.dumps(manifest, indent=1))


main(*map(Path, sys.argv[1:4]))
