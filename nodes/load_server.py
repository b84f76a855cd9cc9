"""The node that loads a judge from a server."""

import os
from typing import TYPE_CHECKING

import folder_paths
import torch
from comfy_api.latest import io

from ..depictqa_core.backends.server_options import ServerOptions
from ..depictqa_core.chat.endpoint import is_address
from ..depictqa_core.errors import CheckpointError
from .inputs import DepictQAModel, advanced, readable_errors, schema
from .loaded_judge import LoadedJudge, answers_of

if TYPE_CHECKING:
    from ..depictqa_core.judge import Judge


class LoadServer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["vLLM", "OpenAI", "llama.cpp", "SGLang", "endpoint", "API", "remote judge"],
            node_id="DepictQA_LoadServer",
            display_name="Load Judge From Server",
            category="DepictQA",
            description="Loads a vision-language model on an OpenAI-compatible server (vLLM, SGLang, llama.cpp, ...) "
            "as an image quality judge. Images are sent to this address.",
            inputs=[
                io.String.Input(
                    "url",
                    default="http://127.0.0.1:8000/v1",
                    tooltip="Address of the server, up to /v1. Images are sent to it. The key comes from the "
                    "environment variable DEPICTQA_API_KEY or OPENAI_API_KEY, and only goes to the address in "
                    "DEPICTQA_API_BASE.",
                ),
                io.String.Input("model_name", default="", tooltip="Name of the model on the server."),
                io.Int.Input(
                    "concurrency", default=8, min=1, max=64, tooltip="Maximum number of requests at the same time."
                ),
                io.Boolean.Input(
                    "cache_answers",
                    default=False,
                    tooltip="Store the answers of the server on disk (user/depictqa/answers), so that no question "
                    "about an image is asked twice.",
                ),
                io.Int.Input(
                    "votes",
                    default=0,
                    min=0,
                    max=100,
                    optional=True,
                    tooltip="Only for servers without log-probabilities: ask every question this many times and take "
                    "the shares of the answers as probabilities. 0 refuses such servers.",
                    **advanced(io.Int.Input),
                ),
            ],
            outputs=[
                DepictQAModel.Output("model", display_name="model", tooltip="The judge, for the other DepictQA nodes."),
                io.String.Output(
                    "facts", display_name="facts", tooltip="What was found out about the server, one line each."
                ),
            ],
        )

    @classmethod
    def execute(cls, url: str, model_name: str, concurrency: int, cache_answers: bool, votes: int = 0) -> io.NodeOutput:
        with readable_errors():
            if not is_address(url):
                raise CheckpointError("url: give the address of a server, such as http://127.0.0.1:8000/v1.")
            cache = os.path.join(folder_paths.get_user_directory(), "depictqa", "answers") if cache_answers else None
            options = ServerOptions(model_name, concurrency, votes or None, cache, owned=False)
            answers = answers_of((url, model_name, votes))

            def read() -> "Judge":
                from ..depictqa_core.backends.factory import open_backend
                from ..depictqa_core.judge import Judge

                return Judge(open_backend(url, "cpu", "auto", answers=answers.questions, server=options))

            cpu = torch.device("cpu")
            loaded = LoadedJudge(read, cpu, cpu, answers=answers)
            facts = [f"{name}: {value}" for name, value in loaded.judge.facts.items()]
            return io.NodeOutput(loaded, "\n".join([*facts, *loaded.notices]))
