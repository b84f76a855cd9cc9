"""Classical quality metrics: PSNR, SSIM, MS-SSIM, GMSD, HaarPSI, BRISQUE, NIQE, and those of other packages."""
