"""The data set factory: scenes of distorted images, their labels, and the question-and-answer records of them."""
