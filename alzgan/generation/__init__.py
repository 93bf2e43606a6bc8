"""What a trained generator is asked for: folders of synthetic images, and the generator itself for others."""
