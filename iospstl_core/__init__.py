"""What training and robot share: layouts, normalisation, imputation, bundle, live pipeline."""
