"""Human studies: people compare pairs of images in a browser, and how they agree with each other and with judges."""
