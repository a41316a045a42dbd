"""Prompts that llama.cpp's own engine renders: llama-server is started with each template and asked.

    python templates.py --server S/build/bin/llama-server --source S/source/vendor/llama.cpp --model smollm2=FILE [--model NAME=FILE ...]

S is the build that `build_reference.sh S` makes. The conversations are those of golden/chat/conversations.json; the
templates those of golden/chat/templates, of models/templates in the source, and of the models. Needs the standard library only; models are loaded (the first is the vocabulary for all templates),
nothing is computed.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request

import common

BUILD_S = "llama-cpp-python 0.3.36 source package, llama-server, Release, LLAMA_BUILD_UI=OFF LLAMA_OPENSSL=OFF"
CHAT = common.GOLDEN / "chat"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """llama-server with one template; leaves with the `with` block."""

    def __init__(self, args, model, template):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [args.server, "-m", model, "--port", port, "-c", 256, "-np", 1, "-t", 1, "--no-warmup", "--jinja"]
        command += ["--offline", "--no-prefill-assistant", "--log-disable"]
        if template is not None:
            command += ["--chat-template-file", template]
        # Dates are written in local time.
        env = dict(os.environ, TZ="UTC")
        self.process = subprocess.Popen([str(c) for c in command], env=env, stderr=subprocess.DEVNULL)
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health").read()
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None:
                    raise SystemExit(f"{template or model}: the server ended") from None
                time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        try:
            return json.loads(urllib.request.urlopen(request).read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())


def line(name, answer):
    """One rendering: `NAME "prompt"`, or what the template says when it refuses, or that llama.cpp cannot."""
    if "prompt" in answer:
        return f"{name} {json.dumps(answer['prompt'], ensure_ascii=False)}\n"
    message = answer["error"]["message"]
    refused = re.search(r"Jinja Exception: (.*)", message, re.DOTALL)
    if refused:
        return f"{name} refused {json.dumps(refused[1].strip(), ensure_ascii=False)}\n"
    return f"{name} fails\n"


def rendering(server, name, body, ids):
    """The line of a case; for a model, with the ids of the prompt below it."""
    # llama-server's default depends on its parser of answers; said outright, it does not.
    body = {"chat_template_kwargs": {"enable_thinking": True}} | body
    answer = server.ask("apply-template", body)
    text = line(name, answer)
    if ids and "prompt" in answer:
        request = {"content": answer["prompt"], "add_special": True, "parse_special": True}
        text += f"ids {','.join(map(str, server.ask('tokenize', request)['tokens']))}\n"
    return text


def capture(args, name, model, template, cases, info):
    today = datetime.datetime.now(datetime.timezone.utc).date()
    with Server(args, model, template) as server:
        props = server.ask("props")
        text = "".join(rendering(server, case, body, ids=template is None) for case, body in cases.items())
    # A rendering may name the day.
    if datetime.datetime.now(datetime.timezone.utc).date() != today:
        return capture(args, name, model, template, cases, info)
    info = info | {"build": "S", "reference": BUILD_S, "date": str(today)}
    info |= {"bos": props["bos_token"], "eos": props["eos_token"]}
    if template is not None:
        info["template_sha256"] = hashlib.sha256(template.read_bytes()).hexdigest()
    common.write_snap("templates", name, text, info)
    print(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, type=pathlib.Path)
    parser.add_argument("--source", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, action="append", metavar="NAME=FILE")
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    models = dict(model.split("=", 1) for model in args.model)
    cases = json.loads((CHAT / "conversations.json").read_text("utf-8"))["cases"]
    wanted = lambda name: args.only is None or name in args.only  # noqa: E731
    vocabulary = next(iter(models.values()))
    templates = [("ours", path) for path in sorted((CHAT / "templates").glob("*.jinja"))]
    templates += [("llama.cpp", path) for path in sorted((args.source / "models" / "templates").glob("*.jinja"))]
    for folder, path in templates:
        if wanted(path.stem):
            capture(args, f"{folder}/{path.stem}", vocabulary, path, cases, {})
    for name, path in models.items():
        if wanted(name):
            capture(args, f"models/{name}", path, None, cases, {"model": name, "model_sha256": common.sha256(path)})


if __name__ == "__main__":
    main()
