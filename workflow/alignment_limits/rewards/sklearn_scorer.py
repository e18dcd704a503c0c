"""scikit-learn text classifiers (vectoriser and classifier as joblib files), read by an allow-list."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import sklearn
from joblib import numpy_pickle
from sklearn.exceptions import InconsistentVersionWarning

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Scores, log_odds, need_file, text_reward, untruncated
from alignment_limits.rewards.unpickling import DAMAGED, Global, find_global

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
    "numpy": ("dtype", "float32", "float64", "int32", "int64", "ndarray", "str_"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "scipy.sparse._csr": ("csr_matrix",),
    "scipy.sparse._dia": ("dia_matrix",),
    "collections": ("OrderedDict", "defaultdict"),
    "builtins": ("int",),
}
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
        RewardError: a file is missing or unsafe, or was made by another scikit-learn.
    """
    transform = load_joblib(need_file(folder, vectorizer, "vectorizer"))
    path = need_file(folder, classifier, "classifier")
    model = load_joblib(path)
    if not hasattr(transform, "transform"):
        raise RewardError(f"{vectorizer} holds a {type(transform).__name__}, which turns no text into features")
    if not hasattr(model, "predict_proba") or len(model.classes_) != 2:
        raise RewardError(
            f"{path} holds a {type(model).__name__} without probabilities of two classes; "
            "calibrate it (CalibratedClassifierCV), or write a reward of kind 'python'"
        )

    def score_texts(texts: list[str]) -> Scores:
        p = model.predict_proba(transform.transform(texts))
        return untruncated(log_odds(p[:, 1], p[:, 0]))

    return text_reward(text, sign, score_texts)


class _Arrays(numpy_pickle.NumpyArrayWrapper):
    """Numeric arrays only: those of objects are pickles within the pickle, unrestricted in older joblibs."""

    def read_array(self, unpickler: Any, *args: Any) -> Any:
        if self.dtype.hasobject:
            raise RewardError(f"{unpickler.filename} holds an array of Python objects; refused")
        return super().read_array(unpickler, *args)


class _Restricted(numpy_pickle.NumpyUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        stubs = {("joblib.numpy_pickle", "NumpyArrayWrapper"): _Arrays}
        return find_global(module, name, self.filename, _ALLOWED, stubs)


def load_joblib(path: Path) -> Any:
    """Read an uncompressed joblib file with an allow-list.

    Raises:
        RewardError: the file asks for anything else, is damaged, or was made by another scikit-learn.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            return _Restricted(str(path), file, ensure_native_byte_order=True).load()
        except InconsistentVersionWarning as error:
            raise RewardError(
                f"{path} was made by scikit-learn {error.original_sklearn_version}, installed is "
                f"{sklearn.__version__}; its scores could differ. Install scikit-learn=="
                f"{error.original_sklearn_version}, or take the release of the package that fits"
            ) from error
        except DAMAGED as error:
            raise RewardError(
                f"{path} cannot be read ({error}); fetch its source again, or save it with "
                "joblib.dump(model, file, compress=0)"
            ) from error
