"""A stub of servers of vision-language models: its next-token distribution is known for every conversation.

The distribution is drawn from a hash of the conversation (text and pixels) and of the tokens so far, and leans towards
the words of likely answers. What the server understands of requests is a matter of its kind.
"""

import base64
import functools
import hashlib
import io
import json
import math

import numpy as np
from chat_server import completion
from PIL import Image

from depictqa_core import tasks

END = "<|im_end|>"
LABELS = [answer.lower() for answer in tasks.identification_answers()]
LIKELY = {  # by a part of the question
    "Answer with Image A or Image B only": tasks.WINNERS,
    "How would you rate": [*tasks.LEVELS, *(f" {level}" for level in tasks.LEVELS)],
    "How severe": [grade.lower() for grade in tasks.GRADES],
    "yes, no": ["yes", "no"],
    "yes or no": ["yes", "no"],
    "": LABELS,
}
WORDS = sorted({word for label in (*tasks.DISTORTIONS, *tasks.LEVELS, *tasks.GRADES) for word in label.split()})
PIECES = ["<|im_start|>", END, "no", "none", "over", "sharp", "harpen", "ening", "Image", "Yes", "No", "yes"]
PIECES += [" A", " B", " and", "The", " quality", " of", " the", " image", " is", *(f" {word}" for word in WORDS)]
PIECES += [word for word in WORDS if word != "oversharpening"] + [word.capitalize() for word in WORDS] + ["overs"]
VOCABULARY = [*PIECES, *map(chr, range(32, 127)), "\n"]
EXACT = {"structured_outputs", "logprob_token_ids", "return_tokens_as_token_ids", "chat_template_kwargs"}
EXACT |= {"add_generation_prompt", "continue_final_message", "logprobs", "top_logprobs"}


def ids(text: str) -> list[int]:
    """The longest piece that fits, again and again; the model may divide "oversharpening" in another way."""
    found = []
    while text:
        piece = max((one for one in VOCABULARY if text.startswith(one)), key=len)
        found.append(VOCABULARY.index(piece))
        text = text[len(piece) :]
    return found


def text_of(tokens) -> str:
    return "".join(VOCABULARY[token] for token in tokens)


def images_of(request: dict) -> list[Image.Image]:
    """The images of a chat request, decoded."""
    parts = [
        part for message in request["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) for url in urls]


def conversation(request: dict) -> str:
    """What an answer depends on: all messages but the one that is continued, with the hash of every image."""

    def plain(content):
        if isinstance(content, str):
            return content
        return [part.get("text") or hashlib.sha256(part["image_url"]["url"].encode()).hexdigest() for part in content]

    asked = [[message["role"], plain(message["content"])] for message in request["messages"]]
    return json.dumps([one for one in asked if one[0] != "assistant"])


@functools.cache
def _leaning(part: str, so_far: str) -> np.ndarray:
    """What the logits are raised by behind a text: 16 for the token that continues or ends a likely answer."""
    raised = np.zeros(len(VOCABULARY))
    for answer in LIKELY[part]:
        if answer.startswith(so_far):
            raised[(ids(answer[len(so_far) :]) or [VOCABULARY.index(END)])[0]] = 16
    if part == "" and not so_far:  # another division of "oversharpening" than that of the tokenizer
        raised[VOCABULARY.index("over")] = 20
    return raised


def log_probabilities(asked: str, tokens: list[int]) -> np.ndarray:
    """The model: log-probabilities of the next token, float64 [vocabulary]."""
    seed = hashlib.sha256(f"{asked}{tokens}".encode()).digest()
    logits = np.random.default_rng(int.from_bytes(seed[:8], "big")).normal(scale=3.0, size=len(VOCABULARY))
    part = next(part for part in LIKELY if part in asked)
    logits[VOCABULARY.index(END)] += 30 * (len(tokens) > 24)  # texts come to an end
    logits += _leaning(part, text_of(tokens).removeprefix("The quality of the image is"))
    return logits - np.log(np.exp(logits).sum())


def probability(asked: str, begun: str, answer: str, end: bool = False) -> float:
    """The probability that the model writes an answer behind a text: over all its tokens, and the end if asked for."""
    tokens, share = ids(begun), 1.0
    for token in [*ids(answer), *([VOCABULARY.index(END)] if end else [])]:
        share *= math.exp(log_probabilities(asked, tokens)[token])
        tokens = [*tokens, token]
    return share


class VlmServer:
    """Answers for ``chat_server``.

    Args:
        fields: the fields of requests that it knows besides model, messages, max_tokens, temperature and seed.
        tokenizer: whether it has /tokenize and /detokenize.
        top: how many log-probabilities it lists at most; 0 for none.
        strict: whether it rejects fields that it does not know, or ignores them.
        processed: whether log-probabilities are those behind the grammar.
        change: what it does to a reply before it sends it.
        template: the text behind which an answer begins.
    """

    def __init__(
        self,
        fields=EXACT,
        tokenizer=True,
        top=20,
        strict=True,
        processed=False,
        change=None,
        template="<|im_start|>assistant\n",
    ):
        self.fields, self.tokenizer, self.top, self.strict = set(fields), tokenizer, top, strict
        self.processed, self.change, self.template = processed, change, template
        self.asked: list[dict] = []

    def __call__(self, number: int, request: dict):
        path = request["path"]
        if path.endswith("/chat/completions"):
            return self.chat(request)
        if not self.tokenizer:
            return 404, {}, {"error": {"message": "Not Found"}}
        if path == "/tokenize":
            return 200, {}, {"tokens": ids(self.rendered(request) if "messages" in request else request["prompt"])}
        return 200, {}, {"prompt": text_of(request["tokens"])}

    def rendered(self, request: dict) -> str:
        *_, last = request["messages"]
        if request.get("continue_final_message"):
            return self.template + last["content"]
        if last["role"] == "assistant":
            return self.template + last["content"] + END + "\n"
        return self.template

    def chat(self, request: dict):
        known = {"path", "model", "messages", "max_tokens", "temperature", "seed"}
        unknown = request.keys() - known - self.fields
        if unknown and self.strict:
            return 400, {}, {"error": {"message": f"Extra inputs are not permitted: {sorted(unknown)}"}}
        request = {name: value for name, value in request.items() if name not in unknown}
        if request.get("top_logprobs", 0) > self.top:
            return 400, {}, {"error": {"message": f"top_logprobs must be at most {self.top}"}}
        self.asked.append(request)
        last = request["messages"][-1]
        begun = ids(last["content"]) if last["role"] == "assistant" else []
        written, content = [], []
        choices = request.get("structured_outputs", {}).get("choice")
        rng = np.random.default_rng(request.get("seed", 0)) if request["temperature"] else None
        while len(written) < request["max_tokens"]:
            logs = log_probabilities(conversation(request), begun + written)
            masked = logs if choices is None else np.where(_allowed(text_of(written), choices), logs, -np.inf)
            token = int(masked.argmax()) if rng is None else int(rng.choice(len(logs), p=np.exp(logs)))
            shown = masked - np.log(np.exp(masked).sum()) if self.processed else logs
            content.append(self.step(request, token, np.maximum(shown, -9999.0)))
            written.append(token)
            if VOCABULARY[token] == END:
                break
        reply = completion(text_of(written).removesuffix(END), "stop" if content else "length")
        if request.get("logprobs"):
            reply["choices"][0]["logprobs"] = {"content": content}
        return 200, {}, self.change(request, reply) if self.change else reply

    def step(self, request: dict, token: int, logs: np.ndarray) -> dict:
        named = request.get("return_tokens_as_token_ids")
        wanted = request.get("logprob_token_ids") or np.argsort(-logs)[: request.get("top_logprobs", 0)].tolist()

        def one(index: int) -> dict:
            return {"token": f"token_id:{index}" if named else VOCABULARY[index], "logprob": float(logs[index])}

        return {**one(token), "top_logprobs": [one(index) for index in dict.fromkeys([token, *wanted])]}


def _allowed(written: str, choices: list[str]) -> np.ndarray:
    """Which tokens a grammar of whole answers allows next."""
    ended = written in choices
    fits = [any(choice.startswith(written + piece) for choice in choices) for piece in VOCABULARY]
    return np.array([fit or (ended and piece == END) for fit, piece in zip(fits, VOCABULARY)])


def vllm(**more) -> VlmServer:
    return VlmServer(**more)


def truncated(**more) -> VlmServer:
    """A server that lists the most probable tokens and ignores what it does not know."""
    return VlmServer(**{"fields": {"logprobs", "top_logprobs"}, "tokenizer": False, "strict": False, **more})


def silent(**more) -> VlmServer:
    """A server without log-probabilities."""
    return VlmServer(**{"fields": (), "tokenizer": False, "strict": False, **more})
