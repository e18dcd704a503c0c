"""What may become of gold as another reward is optimised ever harder: the words of the column `finding`."""

OVER, OPPOSED, NEITHER, UNJUDGED = "over-optimisation", "opposed to gold", "neither", "not judged"
