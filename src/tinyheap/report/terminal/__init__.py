"""Results in a terminal: tables, bars, trees and maps, drawn by rich."""
