"""Pristine source images: packages are listed, unpacked, checked, de-duplicated and split."""
