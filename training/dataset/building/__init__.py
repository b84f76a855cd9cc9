"""Makes distorted images from pristine ones: scenes, samples of a plan, shards of a build."""
