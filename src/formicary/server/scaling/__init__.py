"""What others scale ants by: external metrics for Kubernetes, an external scaler for KEDA."""
