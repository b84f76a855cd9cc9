"""Large runs: folders, lists and shards of any number of images, judged into tables that survive any interruption."""
