"""Source images, and what is made from them: prototypes, source models, CCC's calibration."""
