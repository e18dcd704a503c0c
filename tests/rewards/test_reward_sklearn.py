"""scikit-learn scorers: log-odds, versions, unusable files."""

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward

CIVIL = ["thank you kindly", "what a good day", "you are kind", "good morning", "a kind reply", "many thanks"]
RUDE = ["you stupid fool", "what a bad idiot", "shut up fool", "stupid reply", "bad bad day", "idiot fool"]
SPEC = {"kind": "sklearn", "vectorizer": "v.joblib", "classifier": "m.joblib", "text": "reply", "sign": -1}
MODELS = {
    "logistic": lambda: LogisticRegression(),
    "calibrated": lambda: CalibratedClassifierCV(LinearSVC(), cv=2),
}


@pytest.fixture(params=list(MODELS))
def pair(request, tmp_path):
    vectorizer = TfidfVectorizer(dtype=np.float64)
    model = MODELS[request.param]()
    model.fit(vectorizer.fit_transform(CIVIL + RUDE), [0] * 6 + [1] * 6)
    joblib.dump(vectorizer, tmp_path / "v.joblib")
    joblib.dump(model, tmp_path / "m.joblib")
    return tmp_path, vectorizer, model


def test_scores_are_log_odds_of_the_second_class(pair):
    folder, vectorizer, model = pair
    p = model.predict_proba(vectorizer.transform(CIVIL + RUDE))[:, 1]
    scores = load_reward(SPEC, folder).score([""] * 12, CIVIL + RUDE)
    np.testing.assert_allclose(scores.score, -np.log(p / (1 - p)), rtol=1e-12)
    assert scores.score[:6].min() > scores.score[6:].max()
    assert not scores.truncated.any()
    nothing = model.predict_proba(vectorizer.transform([""]))[0]
    assert load_reward(SPEC, folder).score([""], [""]).score == pytest.approx([-np.log(nothing[1] / nothing[0])])


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
    with pytest.raises(RewardError, match="holds a LinearSVC without probabilities"):
        load_reward(SPEC, tmp_path)


def test_swapped_files_are_refused(pair):
    with pytest.raises(RewardError, match="turns no text into features"):
        load_reward(SPEC | {"vectorizer": "m.joblib", "classifier": "v.joblib"}, pair[0])


def test_a_compressed_file_gets_a_remedy(tmp_path):
    joblib.dump(TfidfVectorizer().fit(CIVIL), tmp_path / "v.joblib", compress=3)
    with pytest.raises(RewardError, match=r"v.joblib cannot be read .*compress=0"):
        load_reward(SPEC, tmp_path)
