"""Serves all-MiniLM-L6-v2 with OpenAI's API for embeddings until standard input ends.

The package that carries the weights runs them with PyTorch, which takes gigabytes. A model of six layers is a page of NumPy.
"""

import argparse
import importlib.util
import json
import math
import os
import pathlib
import struct
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from tokenizers import Tokenizer

NAME = "all-minilm-l6-v2"


class Model:
    """A BERT of the kind that sentence-transformers describes: the mean of the last layer, at length 1."""

    def __init__(self) -> None:
        # The package itself is not imported: that would want PyTorch.
        package = pathlib.Path(importlib.util.find_spec("all_minilm_l6_v2").submodule_search_locations[0])
        with zipfile.ZipFile(package / "model.zip") as files:
            config = json.loads(files.read("config.json"))
            self.longest = json.loads(files.read("sentence_bert_config.json"))["max_seq_length"]
            self.tokenizer = Tokenizer.from_str(files.read("tokenizer.json").decode())
            self.weights = tensors(files.read("model.safetensors"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids

    def vector(self, tokens: list[int]) -> np.ndarray:
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.position_embeddings.weight"][: len(tokens)]
        x = self.normal(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings")
        for n in range(self.layers):
            layer = f"encoder.layer.{n}."
            q, k, v = (self.split(self.dense(x, f"{layer}attention.self.{part}")) for part in ("query", "key", "value"))
            scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            seen = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape)
            x = self.normal(x + self.dense(seen, f"{layer}attention.output.dense"), f"{layer}attention.output")
            wide = gelu(self.dense(x, f"{layer}intermediate.dense"))
            x = self.normal(x + self.dense(wide, f"{layer}output.dense"), f"{layer}output")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def split(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(x.shape[0], self.heads, -1).transpose(1, 0, 2)

    def normal(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon)
        return x * self.weights[name + ".LayerNorm.weight"] + self.weights[name + ".LayerNorm.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution's share below x; its error function by Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    z = np.abs(x) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * np.exp(-z * z)
    return x * np.where(x < 0, tail, 2 - tail) / 2


def tensors(data: bytes) -> dict[str, np.ndarray]:
    """Reads the format safetensors: the length of a header, the header, and numbers."""
    (length,) = struct.unpack_from("<Q", data)
    out = {}
    for name, what in json.loads(data[8 : 8 + length]).items():
        if what.get("dtype") == "F32":
            start, end = what["data_offsets"]
            out[name] = np.frombuffer(data[8 + length + start : 8 + length + end], "<f4").reshape(what["shape"])
    return out


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/embeddings":
            return self.refuse(404, f"there is nothing at {self.path}")
        if asked["model"] != NAME:
            return self.refuse(404, f"The model `{asked['model']}` does not exist")
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        tokens = [self.model.tokens(text) for text in texts]
        for n, of in enumerate(tokens):
            if len(of) > self.model.longest:
                return self.refuse(400, f"input {n} has {len(of)} tokens, more than the {self.model.longest} that the model takes")
        data = [{"object": "embedding", "index": n, "embedding": self.model.vector(of).tolist()} for n, of in enumerate(tokens)]
        used = sum(len(of) for of in tokens)
        self.answer(200, {"object": "list", "data": data, "model": NAME, "usage": {"prompt_tokens": used, "total_tokens": used}})

    def refuse(self, status: int, message: str) -> None:
        self.answer(status, {"error": {"message": message, "type": "invalid_request_error", "code": None}})

    def answer(self, status: int, body: dict) -> None:
        out = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_request(self, *_) -> None:
        pass


def end() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--host", required=True)
    arguments.add_argument("--port", required=True, type=int)
    where = arguments.parse_args()
    threading.Thread(target=end, daemon=True).start()
    Handler.model = Model()
    ThreadingHTTPServer((where.host, where.port), Handler).serve_forever()
