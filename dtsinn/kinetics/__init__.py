"""What a clinic reads from images: V_T, Ki, K1, ratios, lesions, conserved activity."""
