"""What is sent of a stack: the files that lie in its folder, as a manifest and as a tar."""
