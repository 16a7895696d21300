# SPDX-License-Identifier: Apache-2.0
"""harness - what the end-to-end tests stand on: a real daemon, a scripted upstream, raw HTTP."""
