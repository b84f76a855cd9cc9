"""Calls into transformers without its own output."""

from contextlib import contextmanager


@contextmanager
def quiet():
    """Load without transformers' own progress bars and notices: the person sees ours.

    A panic in the Rust code of tokenizers or safetensors is raised as RuntimeError: its own class is no Exception, so
    nobody would catch it.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(str(error)) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
