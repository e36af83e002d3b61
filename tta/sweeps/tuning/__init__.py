"""Choosing hyper-parameters by what a user without labels could see, and what that costs."""
