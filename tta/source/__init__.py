"""Source images, and what is made from them: prototypes, source models, CCC's calibration.

And what is made of source models: soups, Fisher-weighted means, vectors in weight space.
"""
