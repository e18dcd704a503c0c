"""scikit-learn scorers: log-odds, versions, unusable files."""

import pickle

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, MultinomialNB
from sklearn.svm import LinearSVC

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward

CIVIL = ["thank you kindly", "what a good day", "you are kind", "good morning", "a kind reply", "many thanks"]
RUDE = ["you stupid fool", "what a bad idiot", "shut up fool", "stupid reply", "bad bad day", "idiot fool"]
SPEC = {"kind": "sklearn", "vectorizer": "v.joblib", "classifier": "m.joblib", "text": "reply", "sign": -1}
# as alt-profanity-check and HateSonar are made, and other classes on the allow-list
MODELS = {
    "calibrated": (TfidfVectorizer(dtype=np.float64), CalibratedClassifierCV(LinearSVC(), cv=2)),
    "counts": (CountVectorizer(stop_words="english", ngram_range=(1, 2)), LogisticRegression(class_weight="balanced")),
    "isotonic": (TfidfVectorizer(min_df=1), CalibratedClassifierCV(LogisticRegression(), cv=2, method="isotonic")),
    "hashed": (HashingVectorizer(n_features=256, alternate_sign=False), MultinomialNB()),
    "binary": (CountVectorizer(binary=True), BernoulliNB()),
}


@pytest.fixture(params=list(MODELS))
def pair(request, tmp_path):
    vectorizer, model = (clone(part) for part in MODELS[request.param])
    model.fit(vectorizer.fit_transform(CIVIL + RUDE), [0] * 6 + [1] * 6)
    joblib.dump(vectorizer, tmp_path / "v.joblib")
    joblib.dump(model, tmp_path / "m.joblib")
    return tmp_path, vectorizer, model


def test_files_that_pickle_wrote_are_read_as_joblibs(pair):
    folder, vectorizer, model = pair
    scores = load_reward(SPEC, folder).score([""] * 12, CIVIL + RUDE).score
    for part, name in ((vectorizer, "v.joblib"), (model, "m.joblib")):
        (folder / name).write_bytes(pickle.dumps(part))
    np.testing.assert_array_equal(load_reward(SPEC, folder).score([""] * 12, CIVIL + RUDE).score, scores)


def test_scores_are_log_odds_of_the_second_class(pair):
    folder, vectorizer, model = pair
    texts = [*CIVIL, *RUDE, ""]
    q, p = np.clip(model.predict_proba(vectorizer.transform(texts)), 2.0**-53, None).T  # isotonic ones reach 0
    scores = load_reward(SPEC, folder).score([""] * 13, texts)
    np.testing.assert_allclose(scores.score, np.log(q / p), rtol=1e-12, atol=1e-12)
    assert scores.score[:6].min() > scores.score[6:12].max()
    assert not scores.truncated.any()


def test_another_version_of_scikit_learn_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.2.3")
        joblib.dump(TfidfVectorizer().fit(CIVIL), tmp_path / "v.joblib")
    with pytest.raises(RewardError, match=rf"made by scikit-learn 1.2.3, installed is {sklearn.__version__}"):
        load_reward(SPEC, tmp_path)


def test_a_classifier_without_probabilities_is_refused(tmp_path):
    vectorizer = TfidfVectorizer()
    joblib.dump(LinearSVC().fit(vectorizer.fit_transform(CIVIL + RUDE), [0] * 6 + [1] * 6), tmp_path / "m.joblib")
    joblib.dump(vectorizer, tmp_path / "v.joblib")
    with pytest.raises(RewardError, match="contains a LinearSVC without probabilities"):
        load_reward(SPEC, tmp_path)


def test_swapped_files_are_refused(pair):
    with pytest.raises(RewardError, match="does not turn text into features"):
        load_reward(SPEC | {"vectorizer": "m.joblib", "classifier": "v.joblib"}, pair[0])


def test_a_compressed_file_gets_a_remedy(tmp_path):
    joblib.dump(TfidfVectorizer().fit(CIVIL), tmp_path / "v.joblib", compress=3)
    with pytest.raises(RewardError, match=r"v.joblib cannot be read .*compress=0"):
        load_reward(SPEC, tmp_path)
