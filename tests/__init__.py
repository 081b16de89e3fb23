"""Tests by question: unit, contract, property, scenarios, simulation, integration, acceptance, typing."""
