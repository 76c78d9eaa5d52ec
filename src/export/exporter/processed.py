"""What Python's processors make of pictures and sounds: `python -m exporter.processed`.

In: `{"folder", "class", "task", "scratch"}` on stdin. Out: one JSON object: the steps of the processor, the pictures or
sounds that were written to `scratch`, and what transformers' pipeline answers to them; what the processor makes of each
is in `scratch/python.safetensors`, by its place. Or `{"none": why}`, where the processor does what no example does.
"""

import copy
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import load_image

from .__main__ import own_stdout
from .answers import TOKENIZER, ends_of, greedy_of, labelled, meanings, pipeline
from .errors import reason
from .job import Json
from .stored import Unusable, described

FILE = "preprocessor_config.json"
# What newer releases keep all processors of a checkpoint in, by these names.
WHOLE, PARTS = "processor_config.json", ("image_processor", "feature_extractor")
# What a plain processor is made of: one with a step of its own is none.
STEPS = ("preprocess", "_preprocess", "resize", "center_crop", "rescale_and_normalize")
# Pillow's number of a filter → its name in the crate `fast_image_resize`.
FILTERS = {1: "Lanczos3", 2: "Bilinear", 3: "CatmullRom", 4: "Box", 5: "Hamming"}
# The edge from which on ConvNeXt's takes the whole of a picture.
WHOLE_FROM = 384
SEED = 0
# The most tokens that are written of a sound: `NEW_TOKENS` of the spec.
NEW_TOKENS = 16
# The task whose answers are what was said.
HEARS = "automatic-speech-recognition"


def main() -> None:
    """Answers the one request."""
    answers = own_stdout()
    print(json.dumps(answer(json.load(sys.stdin))), file=answers, flush=True)


def processor_of(folder: Path) -> Any:
    """A checkpoint's processor of pictures or sounds; None where it has none.

    Raises:
        Unusable: the folder describes one that transformers does not load.
    """
    said = described(folder, FILE)
    whole = described(folder, WHOLE) or {}
    parts = [said] if said else [whole[part] for part in PARTS if part in whole]
    if not parts:
        return None
    is_picture = any("image" in name or name == "do_resize" for name in parts[0])
    auto: Any = transformers.AutoImageProcessor if is_picture else transformers.AutoFeatureExtractor
    try:
        return auto.from_pretrained(folder)
    except Exception as error:
        raise Unusable(
            f"transformers does not load the processor of {folder.name}: {reason(error)}",
            f"load it by {auto.__name__} in Python first, or take {FILE} out of the folder",
        ) from error


def numbers(folder: Path) -> Json | None:
    """What a checkpoint's processor is: its class, and every number that it goes by."""
    processor = processor_of(folder)
    if processor is None:
        return None
    told = json.loads(processor.to_json_string())
    return {"class": type(processor).__name__} | {
        name: value for name, value in told.items() if value is not None and not name.endswith("_type")
    }


def answer(request: Json) -> Json:
    """Steps, samples and answers; or why there are none."""
    folder, scratch = Path(request["folder"]), Path(request["scratch"])
    processor = processor_of(folder)
    if processor is None:
        return {"none": f"the folder has no {FILE}"}
    model = getattr(transformers, request["class"]).from_pretrained(folder, dtype=torch.float32).eval()
    try:
        steps, samples, values, answers = (_pictures if _is_picture(processor) else _sounds)(
            model, processor, request["task"], scratch
        )
    except NotPlain as why:
        return {"none": str(why)}
    save_file(
        {str(place): value.contiguous() for place, value in enumerate(values)}, scratch / "python.safetensors"
    )
    return {
        "meanings": meanings(model.config),
        "steps": steps,
        "samples": [[str(sample)] for sample in samples],
        "answers": answers,
    }


class NotPlain(Exception):
    """A processor that does what no example does."""


Made = tuple[Json, list[Path], list[Tensor], list[Json]]


def _is_picture(processor: Any) -> bool:
    return isinstance(processor, transformers.image_processing_utils.BaseImageProcessor)


def _pictures(model: Any, processor: Any, task: str, scratch: Path) -> Made:
    steps = picture_steps(processor)
    pictures = [scratch / name for name in draw(scratch)]
    values = [processor(load_image(str(path)), return_tensors="pt")["pixel_values"] for path in pictures]
    ask = pipeline(task, model, image_processor=processor)
    labels = meanings(model.config)["labels"]
    return steps, pictures, values, [labelled(ask(str(path), top_k=len(labels)), labels) for path in pictures]


def picture_steps(processor: Any) -> Json:
    """What a plain processor does to a picture, one after the other.

    Mean and deviation are in whole levels, as the library folds the rescaling into them.

    Raises:
        NotPlain: it has a step of its own.
    """
    name = type(processor).__name__
    if processor.do_pad:
        raise NotPlain(f"{name} pads pictures, which no example does yet")
    size, crop = SIZED.get(type(processor), _sized)(processor)
    size = {side: length for side, length in size.items() if length}
    if sorted(size) not in ([], ["shortest_edge"], ["height", "width"]):
        raise NotPlain(f"{name} resizes to {size}, which no example does yet")
    resample = int(processor.resample)
    if size and resample not in FILTERS:
        raise NotPlain(f"{name} resizes by filter {resample}, which no example does yet")
    smallest = min(size.values(), default=0)
    if crop and max(crop) > smallest:
        raise NotPlain(f"{name} crops to {crop} what may be smaller, which no example does yet")
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    means, deviations = (
        (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    )
    return {
        "takes": "picture",
        "resize": size or None,
        "filter": FILTERS.get(resample),
        "crop": crop,
        "mean": (torch.tensor(means) * (1.0 / scale)).tolist(),
        "std": (torch.tensor(deviations) * (1.0 / scale)).tolist(),
    }


def _sized(processor: Any) -> tuple[Json, list[int] | None]:
    """What a picture is resized to, and height and width of what is taken from its middle."""
    own = [
        step
        for step in STEPS
        if getattr(type(processor), step, None) is not getattr(TorchvisionBackend, step)
    ]
    if own:
        raise NotPlain(
            f"{type(processor).__name__} has a step {own[0]} of its own, which no example does yet"
        )
    return dict(processor.size or {}) if processor.do_resize else {}, _cropped(processor)


def _cropped(processor: Any) -> list[int] | None:
    return [processor.crop_size["height"], processor.crop_size["width"]] if processor.do_center_crop else None


def _of_share(processor: Any) -> tuple[Json, list[int] | None]:
    """ConvNeXt names the share of the resized picture that is taken; large pictures it takes whole."""
    edge = processor.size["shortest_edge"]
    if not processor.do_resize:
        return {}, _cropped(processor)
    if processor.do_center_crop:
        raise NotPlain("ConvNextImageProcessor crops twice, which no example does yet")
    if edge >= WHOLE_FROM:
        return {"height": edge, "width": edge}, None
    return {"shortest_edge": int(edge / processor.crop_pct)}, [edge, edge]


# Processors with a step of their own that comes to plain ones.
SIZED = {transformers.ConvNextImageProcessor: _of_share}


def draw(folder: Path) -> list[str]:
    """Writes pictures that resizing stumbles over; their names.

    Wide, tall, smaller than any model takes, of high contrast, of one colour, grey, see-through, and as photographs are
    kept: JPEG, also lying on its side.
    """
    random = numpy.random.default_rng(SEED)

    def smooth(height: int, width: int) -> numpy.ndarray[Any, Any]:
        down, across = numpy.mgrid[0:height, 0:width]
        waves = [
            numpy.sin(down / (7 + 5 * channel)) + numpy.cos(across / (11 - 2 * channel))
            for channel in range(3)
        ]
        return (63.75 * (numpy.stack(waves, -1) + 2)).astype(numpy.uint8)

    def noise(height: int, width: int) -> numpy.ndarray[Any, Any]:
        return random.integers(0, 256, (height, width, 3), dtype=numpy.uint8)

    board = (numpy.indices((301, 403)).sum(0) // 3 % 2 * 255).astype(numpy.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures: dict[str, tuple[Image.Image, Json]] = {
        "wide.png": (Image.fromarray(smooth(233, 610)), {}),
        "tall.png": (Image.fromarray(noise(517, 130)), {}),
        "small.png": (Image.fromarray(noise(16, 20)), {}),
        "board.png": (Image.fromarray(board).convert("RGB"), {}),
        "plain.png": (Image.new("RGB", (300, 300), (200, 30, 90)), {}),
        "grey.png": (Image.fromarray(smooth(250, 250)[..., 0]), {}),
        "clear.png": (Image.fromarray(numpy.concatenate([noise(90, 90), noise(90, 90)[..., :1]], -1)), {}),
        "photograph.jpg": (Image.fromarray(smooth(480, 640)), {"quality": 90}),
        "turned.jpg": (Image.fromarray(smooth(320, 240)), {"quality": 90, "exif": turned}),
    }
    for name, (picture, how) in pictures.items():
        picture.save(folder / name, **how)
    return list(pictures)


def _sounds(model: Any, processor: Any, task: str, scratch: Path) -> Made:
    if type(processor) is transformers.WhisperFeatureExtractor and task == HEARS:
        return _speech(model, processor, scratch)
    name = type(processor).__name__
    if type(processor) is not transformers.Wav2Vec2FeatureExtractor or processor.feature_size != 1:
        raise NotPlain(f"{name} does more to a sound than to normalise it, which no example does yet")
    steps: Json = {
        "takes": "sound",
        "sampling_rate": processor.sampling_rate,
        "normalised": processor.do_normalize,
        "letters": [],
        "lowers": False,
    }
    parts: Json = {"feature_extractor": processor}
    if task == HEARS:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(model.name_or_path)
        if type(tokenizer) is not transformers.Wav2Vec2CTCTokenizer:
            raise NotPlain(f"{type(tokenizer).__name__} makes texts of letters, which no example does yet")
        steps |= {"letters": spelled(tokenizer, model.config.vocab_size), "lowers": tokenizer.do_lower_case}
        parts["tokenizer"] = tokenizer
    sounds = [scratch / name for name in play(scratch, processor.sampling_rate)]
    waves = [heard(path) for path in sounds]
    values = [
        processor(sound, sampling_rate=processor.sampling_rate, return_tensors="pt")["input_values"]
        for sound in waves
    ]
    ask = pipeline(task, model, **parts)
    labels = meanings(model.config)["labels"]
    if task == HEARS:
        return steps, sounds, values, [{"text": ask(sound)["text"]} for sound in waves]
    return steps, sounds, values, [labelled(ask(sound, top_k=len(labels)), labels) for sound in waves]


def _speech(model: Any, processor: Any, scratch: Path) -> Made:
    """What is written of sounds token by token, by greedy decoding."""
    if processor.dither:
        raise NotPlain("WhisperFeatureExtractor adds noise to a sound, which no example does yet")
    folder = Path(model.name_or_path)
    if not (folder / TOKENIZER).is_file():
        raise NotPlain(f"the folder has no {TOKENIZER}, which is what Rust reads")
    if getattr(model.generation_config, "return_timestamps", False):
        raise NotPlain("generation_config.json asks for timestamps, which no example writes yet")
    greedy, unknown = greedy_of(model)
    if unknown:
        raise NotPlain(f"generation_config.json asks for {', '.join(unknown)}, which no example does yet")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    sounds = [scratch / name for name in play(scratch, processor.sampling_rate)]
    heard_as = {"sampling_rate": processor.sampling_rate, "return_tensors": "pt"}
    values = [processor(heard(path), **heard_as)["input_features"] for path in sounds]
    prompts, languages = begun(model, values)
    steps: Json = {
        "takes": "speech",
        "sampling_rate": processor.sampling_rate,
        "window": processor.n_fft,
        "hop": processor.hop_length,
        "mels": processor.feature_size,
        "samples": processor.n_samples,
        "prompt": prompts[0],
        "languages": languages,
        "greedy": greedy,
        "ends": ends_of(model.generation_config),
    }
    return steps, sounds, values, [_written(model, tokenizer, value) for value in values]


def begun(model: Any, values: list[Tensor]) -> tuple[list[list[int]], list[int]]:
    """The tokens that every text begins with, and those of languages where the second is the one that is heard."""
    detected: list[Tensor] = []

    def detect(*args: Any, **named: Any) -> Tensor:
        detected.append(type(model).detect_language(model, *args, **named))
        return detected[-1]

    model.detect_language = detect
    config = copy.deepcopy(model.generation_config)
    config.return_timestamps = False
    tokens = [
        model._retrieve_init_tokens(value, 1, config, model.config, value.shape[-1], {})[0].tolist()
        for value in values
    ]
    del model.detect_language
    return tokens, sorted(config.lang_to_id.values()) if detected else []


def _written(model: Any, tokenizer: Any, values: Tensor) -> Json:
    tokens = model.generate(values, do_sample=False, num_beams=1, max_new_tokens=NEW_TOKENS)[0].tolist()
    return {"text": tokenizer.decode(tokens, skip_special_tokens=True), "tokens": tokens}


def spelled(tokenizer: Any, count: int) -> list[str]:
    """What each output of a CTC model stands for in a text: the blank for nothing, the delimiter for a space."""
    known = {tokenizer.pad_token: "", tokenizer.word_delimiter_token: tokenizer.replace_word_delimiter_char}
    tokens = [tokenizer.convert_ids_to_tokens(place) or "" for place in range(count)]
    return [known.get(token, token) for token in tokens]


def play(folder: Path, rate: int) -> list[str]:
    """Writes sounds of that rate as WAV files of 16 bits: a tone, noise, one that swells, one that is hardly there."""
    random = numpy.random.default_rng(SEED)
    time = numpy.arange(rate) / rate
    sounds = {
        "tone.wav": 0.5 * numpy.sin(2 * numpy.pi * 440 * time),
        "noise.wav": random.uniform(-0.9, 0.9, 2 * rate),
        "swelling.wav": time**2 * numpy.sin(2 * numpy.pi * (200 + 300 * time) * time),
        "faint.wav": 1e-3 * random.standard_normal(rate // 2),
    }
    for name, sound in sounds.items():
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((32767 * sound).astype("<i2").tobytes())
    return list(sounds)


def heard(path: Path) -> Any:
    """The samples of such a file, from -1 to 1."""
    with wave.open(str(path), "rb") as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), "<i2").astype(numpy.float32) / 32768


if __name__ == "__main__":
    main()
