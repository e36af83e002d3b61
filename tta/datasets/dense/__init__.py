"""Images with a class per pixel: label maps in files, published sets, and digits on a canvas."""
