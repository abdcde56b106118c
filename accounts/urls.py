from django.urls import path

from accounts.views import desk, joining

app_name = "accounts"
urlpatterns = [
    path("me/tokens/", desk.tokens, name="tokens"),
    path("me/tokens/<int:pk>/revoke/", desk.token_revoke, name="token-revoke"),
    path("me/consent/", joining.consent, name="consent"),
    path("me/consent/withdraw/", joining.consent_withdraw, name="consent-withdraw"),
    path("me/profile/", joining.profile, name="profile"),
    path("audit/", desk.audit, name="audit"),
    path("users/", desk.users, name="users"),
]
