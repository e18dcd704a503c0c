"""scikit-learn text classifiers (vectoriser and classifier as joblib files), read with an allow-list."""

from __future__ import annotations

import math
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from joblib import numpy_pickle
from scipy.sparse import csr_matrix, dia_matrix
from sklearn.exceptions import InconsistentVersionWarning

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Scores, log_odds, need_file, text_reward, untruncated
from alignment_limits.rewards.unpickling import (
    PLAIN_NUMPY,
    Global,
    PlainBuild,
    Refused,
    find_global,
    plain_dtype,
    readable,
    tried_in_a_child,
)

_CLASSES = {
    "sklearn.calibration": ("CalibratedClassifierCV", "_CalibratedClassifier", "_SigmoidCalibration"),
    "sklearn.feature_extraction.text": (
        "CountVectorizer",
        "HashingVectorizer",
        "TfidfTransformer",
        "TfidfVectorizer",
    ),
    "sklearn.isotonic": ("IsotonicRegression",),
    "sklearn.linear_model._logistic": ("LogisticRegression",),
    "sklearn.naive_bayes": ("BernoulliNB", "ComplementNB", "MultinomialNB"),
    "sklearn.svm._classes": ("LinearSVC",),
    "numpy": ("float32", "float64", "int32", "int64", "str_"),
    "scipy.sparse._csr": ("csr_matrix",),
    "scipy.sparse._dia": ("dia_matrix",),
    "collections": ("OrderedDict", "defaultdict"),
    "builtins": ("int",),
}
_REMEDY = "fetch its source again, or save it with joblib.dump(model, file, compress=0)"
_PROBES = ["", "a", "Some words of a reply, you fool."]
_ALLOWED: frozenset[Global] = frozenset((module, name) for module, names in _CLASSES.items() for name in names)


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    vectorizer: str,
    classifier: str,
) -> ItemReward:
    """A reward whose score is the log-odds of the classifier's second class.

    Raises:
        RewardError: a file is missing or unsafe, or was saved by another version of scikit-learn.
    """
    transform = _loaded(need_file(folder, vectorizer, "vectorizer"))
    path = need_file(folder, classifier, "classifier")
    model = _loaded(path)
    if not hasattr(transform, "transform"):
        raise RewardError(f"{vectorizer} contains a {type(transform).__name__}, which does not turn text into features")
    if not hasattr(model, "predict_proba") or len(model.classes_) != 2:
        raise RewardError(
            f"{path} contains a {type(model).__name__} without probabilities of two classes; "
            "calibrate it (CalibratedClassifierCV), or write a reward of kind 'python'"
        )

    tried_in_a_child(path, lambda: model.predict_proba(transform.transform(_PROBES)), "used")

    def score_texts(texts: list[str]) -> Scores:
        p = model.predict_proba(transform.transform(texts))
        return untruncated(log_odds(p[:, 1], p[:, 0]))

    return text_reward(text, sign, score_texts)


def _loaded(path: Path) -> Any:
    tried_in_a_child(path, lambda: load_joblib(path))
    return load_joblib(path)


class _Arrays(numpy_pickle.NumpyArrayWrapper):
    """Plain arrays only, none larger than the file; an array of objects would be a pickle within the pickle."""

    def read(self, unpickler: Any, ensure_native_byte_order: bool) -> Any:
        plain = plain_dtype(self.dtype.str if isinstance(self.dtype, np.dtype) and not self.dtype.fields else "O")
        shape, left = self.shape, os.fstat(unpickler.file_handle.fileno()).st_size - unpickler.file_handle.tell()
        if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)):
            raise Refused(f"an array of shape {shape!r:.80}")
        if math.prod(shape) * plain.itemsize > left:
            raise Refused("an array larger than the file")
        return self.read_array(unpickler, ensure_native_byte_order)


_STUBS = {
    **PLAIN_NUMPY,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Arrays,
    ("scipy.sparse.csr", "csr_matrix"): csr_matrix,  # its name in old files, refused later
}


class _Restricted(numpy_pickle.NumpyUnpickler, PlainBuild):
    dispatch = numpy_pickle.NumpyUnpickler.dispatch.copy()

    def find_class(self, module: str, name: str) -> Any:
        return find_global(module, name, self.filename, _ALLOWED, _STUBS)

    def load_build(self) -> None:
        if not self.built():
            super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def load_joblib(path: Path) -> Any:
    """Read an uncompressed joblib file with an allow-list.

    Raises:
        RewardError: the file asks for other classes, is damaged, or was saved by another version of scikit-learn.
    """

    def read() -> Any:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            try:
                loaded = _Restricted(str(path), file, ensure_native_byte_order=True).load()
            except InconsistentVersionWarning as error:
                raise RewardError(
                    f"{path} was made by scikit-learn {error.original_sklearn_version}, installed is "
                    f"{sklearn.__version__}; its scores could differ. Install scikit-learn=="
                    f"{error.original_sklearn_version}, or use a release of the package that fits"
                ) from error
        _check_sparse(loaded, set())
        return loaded

    return readable(path, read, remedy=_REMEDY)


def _check_sparse(value: Any, seen: set[int]) -> None:
    """Check every index of a sparse matrix with SciPy, whose compiled code does not check them later.

    Raises:
        ValueError: an index is out of range.
    """
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, csr_matrix):
        value.check_format(full_check=True)
    elif isinstance(value, dia_matrix):
        value.tocsr().check_format(full_check=True)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_sparse(item, seen)
    elif type(value).__module__.startswith("sklearn."):
        for item in vars(value).values():
            _check_sparse(item, seen)
