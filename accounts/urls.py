from django.urls import path

from accounts.views import consenting, desk, doors, inviting, joining, people

app_name = "accounts"
urlpatterns = [
    path("join/", doors.join, name="join"),
    path("join/renew/", doors.join_renew, name="join-renew"),
    path("join/<str:secret>/", doors.join_link, name="join-link"),
    path("password/new/", doors.password_new, name="password-new"),
    path("password/<str:secret>/", doors.password_link, name="password-link"),
    path("me/tokens/", desk.tokens, name="tokens"),
    path("me/tokens/<int:pk>/revoke/", desk.token_revoke, name="token-revoke"),
    path("me/consent/", joining.consent, name="consent"),
    path("me/consent/withdraw/", joining.consent_withdraw, name="consent-withdraw"),
    path("me/profile/", joining.profile, name="profile"),
    path("audit/", desk.audit, name="audit"),
    path("users/", people.users, name="users"),
    path("users/<int:pk>/", people.user, name="user"),
    path("users/<int:pk>/roles/", people.user_roles, name="user-roles"),
    path("users/<int:pk>/disable/", people.user_disable, name="user-disable"),
    path("users/<int:pk>/enable/", people.user_enable, name="user-enable"),
    path("users/<int:pk>/link/", people.user_link, name="user-link"),
    path("invitations/", inviting.invitations, name="invitations"),
    path("invitations/new/", inviting.invitation_new, name="invitation-new"),
    path("invitations/<uuid:pk>/renew/", inviting.invitation_renew, name="invitation-renew"),
    path("invitations/<uuid:pk>/revoke/", inviting.invitation_revoke, name="invitation-revoke"),
    path("consent-texts/", consenting.consent_texts, name="consent-texts"),
]
