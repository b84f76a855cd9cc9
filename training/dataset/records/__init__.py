"""Record files in the published format: questions and answers from the applied distortions."""
