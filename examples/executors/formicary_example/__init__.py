"""An executor for Formicary that counts."""
